"""The HTTP server of a sandbox for SMS and payments.

It adds DMarkPay's endpoints and the payment prompts to the server for SMS.
"""

import time
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote

from playmatatu.sandbox.money import dmarkpay, phones
from playmatatu.sandbox.money.page import Page
from playmatatu.sandbox.money.transactions import State
from sms.sandbox import server
from sms.sandbox.page import Links
from sms.sandbox.server import json_or_none


class Handler(server.Handler):
    server: "Server"

    def get(self, path: str) -> bool:
        if place := dmarkpay.place_of("GET", path):
            self._money(*place, path, b"")
            return True
        if path == "/prompts.json":
            with self.server.state.lock:
                prompts = self.server.state.money.prompts()
            self.json(200, prompts)
            return True
        return super().get(path)

    def post(self, path: str, raw: bytes) -> bool:
        if place := dmarkpay.place_of("POST", path):
            self._money(*place, path, raw)
        elif path.startswith("/prompts/"):
            self._prompt(unquote(path.removeprefix("/prompts/")).rstrip("/"), raw)
        else:
            return super().post(path, raw)
        return True

    def _prompt(self, sp_transaction_id: str, raw: bytes) -> None:
        answer = self.fields(raw).get("answer")
        if answer not in phones.ANSWERS:
            self.json(400, {"error": "answer is one of: pay, decline."})
            return
        try:
            status = self.server.dmarkpay.phones.answer(sp_transaction_id, answer)
        except LookupError:
            self.json(404, {"error": "There is no payment prompt with this id."})
            return
        if status or self.is_form():
            self.done({"sp_transaction_id": sp_transaction_id, "status": status})
        else:
            self.json(409, {"error": "The prompt has been answered, or the phone has given up."})

    def _money(self, place: str, polled: str, path: str, raw: bytes) -> None:
        state = self.server.state
        body: Any = dict(parse_qsl(raw.decode(errors="replace"))) if self.is_form() else json_or_none(raw)
        state.record(self.command, path, body)
        self.server.dmarkpay.count(place, polled, body)
        if state.faults.pay_latency_ms:
            time.sleep(state.faults.pay_latency_ms / 1000)
        authorization = self.headers.get("Authorization", "")
        self.give(
            state.fault(place),
            state.faults,
            lambda: self.server.dmarkpay.reply(place, polled, body, authorization),
            lambda status: dmarkpay.refusal(place, status),
        )


class Server(server.Server):
    handler_class: ClassVar[type[server.Handler]] = Handler
    state_class: ClassVar[type[State]] = State
    page_class: ClassVar[type[Page]] = Page
    state: State

    def __init__(self, port: int, host: str = "127.0.0.1", links: Links = Links()) -> None:  # noqa: B008
        super().__init__(port, host, links)
        self.dmarkpay = dmarkpay.DMarkPay(self.state)
