"""Test helpers for projects that send SMS: inspect the messages, and run the DMark sandbox (a fake provider).

In a test run, SMS is on only if SMS_SERVICE_BASE_URL is local, as with a sandbox.

Example:

    with texts() as sent:
        order.confirm()
    assert [message.kind for message in sent] == ["confirmation"]
    assert_texted("0772123456", "Your order is on its way.")
"""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from socketserver import BaseServer
from typing import Any, TypeVar, overload

import requests
from django.db.models import Max
from django.test import override_settings

from sms.models import UNSUCCESSFUL, SmsMessage, Status
from sms.sandbox.server import Server
from sms.text.phone import to_e164

# Statuses that `assert_texted` does not accept. It accepts `queued`, because under Django's TestCase no transaction
# commits, and messages therefore stay queued.
_NOT_TEXTED = (*UNSUCCESSFUL, Status.DISABLED, Status.CANCELLED)

S = TypeVar("S", bound=BaseServer)


class Texts(Sequence[SmsMessage]):
    """The messages queued since this object was created, oldest first. Each access reads them from the database."""

    def __init__(self) -> None:
        self._since = SmsMessage.objects.aggregate(last=Max("pk"))["last"] or 0

    def _rows(self) -> list[SmsMessage]:
        return list(SmsMessage.objects.filter(pk__gt=self._since).order_by("pk"))

    def __len__(self) -> int:
        return len(self._rows())

    @overload
    def __getitem__(self, index: int) -> SmsMessage: ...
    @overload
    def __getitem__(self, index: slice) -> list[SmsMessage]: ...
    def __getitem__(self, index: int | slice) -> SmsMessage | list[SmsMessage]:
        return self._rows()[index]

    def __repr__(self) -> str:
        return f"<Texts: {_described(self._rows())}>"

    def to(self, phone: str | int) -> list[SmsMessage]:
        """Return the messages to `phone`. The number may be in any notation."""
        number = to_e164(phone)
        return [message for message in self._rows() if message.phone == number]

    def cancel_queued(self) -> None:
        """Cancel the queued messages, so that none of them is sent after the sandbox has ended."""
        waiting = SmsMessage.objects.filter(pk__gt=self._since, status=Status.QUEUED)
        waiting.update(status=Status.CANCELLED, error="The test block of texts() has ended.")


def assert_texted(
    phone: str | int, text: str | re.Pattern[str] | None = None, *, kind: str | None = None
) -> SmsMessage:
    """Assert that the newest matching message was sent or is queued, and return it.

    `text`: the whole text, or a compiled pattern to search for. None matches any text or kind.
    """
    number = to_e164(phone)
    rows = list(SmsMessage.objects.filter(phone=number).order_by("-pk"))
    for message in rows:
        if kind not in (None, message.kind) or not _matches(message.text, text):
            continue
        if message.status in _NOT_TEXTED:
            raise AssertionError(f"{number} was not texted: {message.status}. {message.error}")
        return message
    wanted = "" if text is None else f" {text.pattern if isinstance(text, re.Pattern) else text!r}"
    raise AssertionError(f"{number} was not texted{wanted}; to that number: {_described(rows)}")


def _matches(text: str, wanted: str | re.Pattern[str] | None) -> bool:
    if isinstance(wanted, re.Pattern):
        return wanted.search(text) is not None
    return wanted in (None, text)


def _described(rows: Sequence[SmsMessage]) -> str:
    lines = (f"{row.kind or 'plain'} to {row.phone}, {row.status}: {row.text!r}" for row in rows)
    return "; ".join(lines) or "nothing"


class Sandbox:
    """An HTTP client of the DMark sandbox."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.url = server.url

    def inbox(self) -> list[dict[str, Any]]:
        """Return the messages on the sandbox's phones, newest first. Keys: `msg_id`, `to`, `text`, `received_at`."""
        return list(self._get("/inbox.json"))

    def faults(self, **switches: Any) -> None:
        """Set switches of the sandbox by name, for example `send="503"`, `send_times=2` or `report="failed"`."""
        answer = requests.post(f"{self.url}/faults", json=switches, timeout=5)
        if answer.status_code != 200:
            raise ValueError(answer.json()["error"])

    def requests(self) -> list[dict[str, Any]]:
        """Return the last 5,000 API requests to the sandbox, oldest first. Keys: `at`, `method`, `path`, `body`."""
        return list(self._get("/requests.json")["requests"])

    def asked(self, path: str) -> int:
        return sum(request["path"] == path for request in self.requests())

    def counts(self) -> dict[str, Any]:
        """Return the number of requests by path, the number of accepted messages, and a list of repeated messages."""
        return dict(self._get("/counts.json"))

    @property
    def token_requests(self) -> int:
        return sum(request["path"].endswith("/get_token/") for request in self.requests())

    @property
    def sends(self) -> int:
        return self.asked("/v3/api/send_sms/")

    def _get(self, path: str) -> Any:
        return requests.get(f"{self.url}{path}", timeout=5).json()


@contextmanager
def serving(server: S) -> Iterator[S]:
    """Run an HTTP server, such as the sandbox, in a thread. Stop the server when the block ends."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def sandbox(**settings: Any) -> Iterator[Sandbox]:
    """Run a sandbox, and send the SMS of this block to it.

    `settings` override the defaults: inline delivery and no rate limit. The sandbox sends no delivery reports until the
    test sets the switch `report`.
    """
    with serving(Server(0)) as server:
        running = Sandbox(server)
        running.faults(report="never")
        given = {
            "SMS_SERVICE_BASE_URL": running.url,
            "SMS_SERVICE_USERNAME": "tests",
            "SMS_SERVICE_PASSWORD": "sandbox-password",
            "SMS_DELIVERY": "inline",
            "SMS_RATE_LIMIT_SECONDS": 0,
        }
        with override_settings(**given | settings):
            yield running


@contextmanager
def texts(**settings: Any) -> Iterator[Texts]:
    """Collect the messages queued in this block, and send them to a sandbox. At the end, cancel those still queued."""
    with sandbox(**settings):
        sent = Texts()
        try:
            yield sent
        finally:
            sent.cancel_queued()
