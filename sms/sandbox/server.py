"""The sandbox's HTTP: DMark's three endpoints, the inbox, the switches."""

import json
import logging
import socket
import struct
import time
from dataclasses import asdict
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt

from sms.sandbox import page
from sms.sandbox.reporter import Reporter
from sms.sandbox.state import Faults, Received, State

logger = logging.getLogger("sms.sandbox")

TOKEN, SEND, DLR = "token", "send", "dlr"
PLACES = {
    "/api/get_token/": TOKEN,
    "/v3/api/get_token/": TOKEN,
    "/v3/api/send_sms/": SEND,
    "/v3/api/dlr/": DLR,
}
HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        super().__init__((host, port), Handler)
        self.state = State()
        self.reporter = Reporter(self.state)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up is no error of ours."""
        logger.debug("sandbox: a caller hung up")


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        state = self.server.state
        match urlsplit(self.path).path:
            case "/":
                # The page asks again with what it has seen: nothing new, nothing sent.
                if urlsplit(self.path).query == f"seen={state.version}":
                    self._answer(204, b"", "text/html")
                else:
                    self._answer(200, page.inbox(state).encode(), "text/html; charset=utf-8")
            case "/inbox.json":
                self._json(200, state.inbox())
            case "/requests.json":
                with state.lock:
                    self._json(200, {"counts": dict(state.counts), "requests": list(state.requests)})
            case "/faults":
                self._json(200, asdict(state.faults))
            case path:
                self._json(405 if path in PLACES else 404, {"error": "Nothing to get here."})

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path in PLACES:
            self._provider(path, raw)
        elif path == "/faults":
            self._set_faults(raw)
        elif path == "/reset":
            self.server.state.reset()
            self._done()
        elif path == "/well":
            self.server.state.set_faults(asdict(Faults()))
            self._done()
        else:
            self._json(404, {"error": "Account Not Found", "description": "No such endpoint.", "status_code": 404})

    # --- the switches

    def _set_faults(self, raw: bytes) -> None:
        try:
            if self._is_form():
                values: Any = dict(parse_qsl(raw.decode()))
            else:
                values = json.loads(raw or b"{}")
            if not isinstance(values, dict):
                raise ValueError("Give the switches as an object: name and value.")
            self.server.state.set_faults(values)
        except ValueError as error:
            self._json(400, {"error": str(error)})
            return
        self._done()

    def _done(self) -> None:
        if self._is_form():
            self._answer(303, b"", "text/plain", Location="/")
        else:
            self._json(200, asdict(self.server.state.faults))

    def _is_form(self) -> bool:
        return "urlencoded" in self.headers.get("Content-Type", "")

    # --- DMark

    def _provider(self, path: str, raw: bytes) -> None:
        state, place = self.server.state, PLACES[path]
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        shown = {**body, "password": "[redacted]"} if place == TOKEN and isinstance(body, dict) else body
        state.ask("POST", path, shown)
        if state.faults.latency_ms:
            time.sleep(state.faults.latency_ms / 1000)
        fault = state.fault(place)
        if fault != "ok":
            self._fault(fault, place)
        elif not isinstance(body, dict):
            self._json(400, {"msg_id": "", "status_code": "400", "description": "Invalid message format"})
        else:
            {TOKEN: self._token, SEND: self._send, DLR: self._dlr}[place](body)

    def _token(self, body: dict[str, Any]) -> None:
        state = self.server.state
        if not body.get("username") or not body.get("password"):
            self._json(401, {"access_token": "", "description": "Invalid username or password", "status_code": "401"})
            return
        claims: dict[str, Any] = {"sub": str(body["username"]), "iat": int(time.time()), "jti": str(time.time_ns())}
        kind = state.faults.token_kind
        if kind != "no_exp":
            claims["exp"] = int(time.time() + (-60 if kind == "past" else state.faults.token_life))
        token = jwt.encode(claims, state.key, algorithm="HS256")
        if kind == "opaque":
            token = f"opaque-{time.time_ns()}"
        with state.lock:
            state.tokens.add(token)
        self._json(
            201,
            {
                "access_token": "" if kind == "missing" else token,
                "first_name": "",
                "last_name": "",
                "username": body["username"],
                "description": "Token generated",
                "status_code": "201",
            },
        )

    def _authorised(self) -> bool:
        state = self.server.state
        token = self.headers.get("authToken", "")
        if token in state.tokens and not state.faults.refuse_tokens:
            return True
        self._json(401, {"msg_id": "", "status_code": "401", "description": "Invalid auth token"})
        return False

    def _send(self, body: dict[str, Any]) -> None:
        state = self.server.state
        if not self._authorised():
            return
        to, text = body.get("numbers"), body.get("msg")
        if not isinstance(to, str) or not isinstance(text, str) or not to or not text:
            self._json(400, {"msg_id": "", "status_code": "400", "description": "Invalid message format"})
            return
        kind = state.faults.send_kind
        if kind in ("failed", "submitted_0"):
            self._json(200, {"Failed": int(kind == "failed"), "Total": 1, "Submitted": 0, "Detail": []})
            return
        message = state.take(to, text, str(body.get("dlr_url") or ""))
        self._json(*self._acceptance(kind, message))
        if not message.hidden:  # nobody reports on what is lost
            self.server.reporter.plan(message)

    @staticmethod
    def _acceptance(kind: str, message: Received) -> tuple[int, dict[str, Any]]:
        if kind == "top":
            return 201, {"msg_id": str(message.msg_id), "status_code": "201", "description": "Message accepted"}
        if kind == "no_id":
            return 200, {"Failed": 0, "Total": 1, "Submitted": 1, "Detail": []}
        detail = [{"phone": "256" + message.to.lstrip("+").removeprefix("0"), "msg_id": message.msg_id}]
        return 200, {"Failed": 0, "Total": 1, "Submitted": 1, "Detail": detail}

    def _dlr(self, body: dict[str, Any]) -> None:
        if not self._authorised():
            return
        message = self.server.state.find(body.get("msg_id", body.get("msgId")))
        if message is None:
            self._json(404, {"error": "Not Found", "description": "Unknown message", "status_code": 404})
            return
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self._json(200, {"msg_id": message.msg_id, "status": message.status, "submitted_at": now})

    # --- faults

    def _fault(self, fault: str, place: str) -> None:  # noqa: C901
        faults = self.server.state.faults
        match fault:
            case "hang":
                time.sleep(faults.hang_seconds)
                self.close_connection = True
            case "slow":
                self._drip(b'{"status_code": "200", "description": "' + b"x" * 400 + b'"}')
            case "reset":
                # Linger of zero seconds: the kernel answers with RST instead of FIN.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
            case "truncated":
                self._headers(200, 500, "application/json")
                self.wfile.write(b'{"Failed": 0, "To')
                self.close_connection = True
            case "html":
                self._answer(200, HTML.encode(), "text/html")
            case "huge":
                self._answer(200, b'{"description": "' + b"x" * 3_000_000 + b'"}', "application/json")
            case "list":
                self._json(200, [1, 2, 3])
            case "empty":
                self._answer(200, b"", "application/json")
            case "not_json":
                self._answer(200, b'{"Failed": 0, "Total"', "application/json")
            case "wrong_type":
                self._answer(200, b"Message accepted", "text/plain")
            case "nul":
                self._answer(400, b'{"description": "a\\u0000b\\ud800c", "x": "\x00\xff"}', "application/json")
            case "redirect":
                self._answer(301, b"", "text/html", Location=self.path.rstrip("/"))
            case "body_401" | "body_500":
                self._json(200, {"msg_id": "", "status_code": fault[5:], "description": "Refused in the body"})
            case _:
                self._status(int(fault), place)

    def _status(self, status: int, place: str) -> None:
        extra = {"Retry-After": f"{self.server.state.faults.retry_after:g}"} if status == 429 else {}
        if status >= 500:
            self._answer(status, HTML.encode(), "text/html", **extra)
            return
        words = {
            400: "Invalid message format",
            401: "Invalid username or password" if place == TOKEN else "Invalid auth token",
            403: "Invalid token type. Token must be a <class 'bytes'>",
            404: "Account Does Not Exist.",
        }.get(status, "Refused")
        self._json(status, {"description": words, "status_code": str(status)}, **extra)

    def _drip(self, body: bytes) -> None:
        self._headers(200, len(body), "application/json")
        self.close_connection = True
        end = time.monotonic() + self.server.state.faults.hang_seconds
        for offset in range(len(body)):
            if time.monotonic() > end:
                return
            self.wfile.write(body[offset : offset + 1])
            self.wfile.flush()
            time.sleep(0.1)

    # --- answers

    def _json(self, status: int, value: object, **headers: str) -> None:
        self._answer(status, json.dumps(value).encode(), "application/json", **headers)

    def _answer(self, status: int, body: bytes, content_type: str, **headers: str) -> None:
        self._headers(status, len(body), content_type, **headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _headers(self, status: int, length: int, content_type: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        logger.debug(format, *args)
