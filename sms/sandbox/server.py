"""The sandbox's HTTP: the two providers, the phones as a page and as JSON, the switches."""

import json
import logging
import sys
import time
from dataclasses import asdict
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from sms.sandbox import dmark, dmarkpay, page, phones
from sms.sandbox.answers import Answers
from sms.sandbox.faults import Faults
from sms.sandbox.state import State

logger = logging.getLogger("sms.sandbox")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        super().__init__((host, port), Handler)
        self.state = State()
        self.dmark = dmark.DMark(self.state)
        self.dmarkpay = dmarkpay.DMarkPay(self.state)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def server_close(self) -> None:
        super().server_close()
        self.state.later.stop()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up, or was cut off as ordered, is no error of ours."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            logger.debug("sandbox: a caller hung up (%s)", type(error).__name__)
        else:
            logger.error("sandbox: a request failed", exc_info=error)


class Handler(Answers):
    server: Server

    def do_GET(self) -> None:  # noqa: N802
        state, path = self.server.state, urlsplit(self.path).path
        if place := dmarkpay.place_of("GET", path):
            self._money(*place, path, b"")
            return
        match path:
            case "/":
                # The page asks again with what it has seen: nothing new, nothing sent.
                if urlsplit(self.path).query == f"seen={state.version}":
                    self.answer(204, b"", "text/html")
                else:
                    self.answer(200, page.inbox(state).encode(), "text/html; charset=utf-8")
            case "/page.css" | "/page.js":
                self.answer(200, *page.part(path))
            case "/inbox.json":
                self.json(200, state.inbox())
            case "/prompts.json":
                with state.lock:
                    prompts = state.money.prompts()
                self.json(200, prompts)
            case "/counts.json":
                self.json(200, state.how_many())
            case "/requests.json":
                with state.lock:
                    asked = {"counts": dict(state.counts), "requests": list(state.requests)}
                self.json(200, asked)
            case "/faults":
                self.json(200, asdict(state.faults))
            case path:
                self.json(405 if path in dmark.PLACES else 404, {"error": "Nothing to get here."})

    def do_POST(self) -> None:  # noqa: N802
        path = urlsplit(self.path).path
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path in dmark.PLACES:
            self._texts(path, raw)
        elif place := dmarkpay.place_of("POST", path):
            self._money(*place, path, raw)
        elif path.startswith("/prompts/"):
            self._prompt(unquote(path.removeprefix("/prompts/")).rstrip("/"), raw)
        elif path == "/faults":
            self._set_faults(raw)
        elif path == "/reset":
            self.server.state.reset()
            self._done(asdict(self.server.state.faults))
        elif path == "/well":
            self.server.state.set_faults(asdict(Faults()))
            self._done(asdict(self.server.state.faults))
        else:
            self.json(404, {"error": "Account Not Found", "description": "No such endpoint.", "status_code": 404})

    # --- the switches and the phones

    def _set_faults(self, raw: bytes) -> None:
        try:
            values = self._values(raw)
            if not isinstance(values, dict):
                raise ValueError("Give the switches as an object: name and value.")
            self.server.state.set_faults(values)
        except ValueError as error:
            self.json(400, {"error": str(error)})
            return
        self._done(asdict(self.server.state.faults))

    def _prompt(self, sp_transaction_id: str, raw: bytes) -> None:
        try:
            values = self._values(raw)
        except ValueError:
            values = None
        answer = values.get("answer") if isinstance(values, dict) else None
        if answer not in phones.ANSWERS:
            self.json(400, {"error": "answer is one of: pay, decline."})
            return
        try:
            status = self.server.dmarkpay.phones.answer(sp_transaction_id, answer)
        except LookupError:
            self.json(404, {"error": "No phone was asked for this."})
            return
        if status or self._is_form():
            self._done({"sp_transaction_id": sp_transaction_id, "status": status})
        else:
            self.json(409, {"error": "It has been answered, or the phone has given up."})

    def _values(self, raw: bytes) -> Any:
        return dict(parse_qsl(raw.decode())) if self._is_form() else json.loads(raw or b"{}")

    def _done(self, value: object) -> None:
        if self._is_form():
            self.answer(303, b"", "text/plain", Location="/")
        else:
            self.json(200, value)

    def _is_form(self) -> bool:
        return "urlencoded" in self.headers.get("Content-Type", "")

    # --- the providers

    def _texts(self, path: str, raw: bytes) -> None:
        state, place = self.server.state, dmark.PLACES[path]
        body = _json(raw)
        shown = {**body, "password": "[redacted]"} if place == dmark.TOKEN and isinstance(body, dict) else body
        state.ask("POST", path, shown)
        if state.faults.latency_ms:
            time.sleep(state.faults.latency_ms / 1000)
        token = self.headers.get("authToken", "")
        self.give(
            state.fault(place),
            state.faults,
            lambda: self.server.dmark.reply(path, body, token),
            lambda status: dmark.refusal(place, status),
        )

    def _money(self, place: str, asked_for: str, path: str, raw: bytes) -> None:
        state = self.server.state
        body: Any = dict(parse_qsl(raw.decode(errors="replace"))) if self._is_form() else _json(raw)
        state.ask(self.command, path, body)
        self.server.dmarkpay.count(place, asked_for, body)
        if state.faults.pay_latency_ms:
            time.sleep(state.faults.pay_latency_ms / 1000)
        authorization = self.headers.get("Authorization", "")
        self.give(
            state.fault(place),
            state.faults,
            lambda: self.server.dmarkpay.reply(place, asked_for, body, authorization),
            lambda status: dmarkpay.refusal(place, status),
        )


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None
