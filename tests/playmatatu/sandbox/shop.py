"""A client of the sandbox's DMarkPay, and a receiver of its notifications."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import requests

from tests.sandbox import Sandbox

ACCOUNT = "/api/v1/accounts/ACC-77/transactions/"


class Receiver:
    """The receiver behind a `notify_url`. It stores the notifications in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, Any]] = []
        heard = self.heard

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
                kind = self.headers["Content-Type"]
                if "urlencoded" in kind:
                    heard.append((self.command, kind, {name: value[0] for name, value in parse_qs(raw).items()}))
                else:
                    heard.append((self.command, kind, json.loads(raw) if raw.startswith("{") else raw))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_PUT = do_POST  # noqa: N815

            def log_message(self, *arguments: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/notify"

    def words(self) -> list[str]:
        return [body["status"] for _, _, body in self.heard]


class Shop:
    """A client of DMarkPay."""

    def __init__(self, sandbox: Sandbox, notify_url: str) -> None:
        self.sandbox, self.notify_url = sandbox, notify_url
        self.session = requests.Session()
        self.login()

    def login(self) -> None:
        answer = self.session.post(
            self.sandbox.url + "/o/token/",
            {"grant_type": "client_credentials"},
            auth=("collector", "wallet-key-7341"),
            timeout=5,
        )
        assert answer.status_code == 200
        assert answer.json()["expires_in"] == 36000
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def order(self, name: str = "S-1", kind: str = "payin", **changes: Any) -> requests.Response:
        body = {
            "wallet": "dmark",
            "payment_method": "mtn_mobile_money",
            "msisdn": "256772000001",
            "description": "PlayMatatu stake",
            "amount": "5000.00",
            "sp_transaction_id": name,
        }
        if kind == "payin":
            body["notify_url"] = self.notify_url
        return self.session.post(f"{self.sandbox.url}{ACCOUNT}{kind}/", json=body | changes, timeout=1)

    def status(self, transaction_id: str) -> requests.Response:
        return self.session.get(f"{self.sandbox.url}{ACCOUNT}{transaction_id}/", timeout=5)

    def word(self, transaction_id: str) -> str:
        return str(self.status(transaction_id).json()["status"])
