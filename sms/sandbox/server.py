"""The sandbox's HTTP server. It serves DMark's endpoints and the sandbox's page, and reads and sets the switches."""

import json
import logging
import re
import sys
import time
from dataclasses import asdict
from http.server import ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from sms.sandbox import dmark
from sms.sandbox.answers import Answers
from sms.sandbox.later import push
from sms.sandbox.page import Links, Page
from sms.sandbox.state import Reply, State, now

logger = logging.getLogger("sms.sandbox")
_REPLY = re.compile(r"/phones/(0\d{9})/reply")


class Handler(Answers):
    """The request handler. Subclasses override `get` and `post`, which return False for an unknown URL path."""

    server: "Server"

    def do_GET(self) -> None:  # noqa: N802
        path = urlsplit(self.path).path
        if not self.get(path):
            self.json(405 if path in dmark.PLACES else 404, {"error": "There is no such page."})

    def do_POST(self) -> None:  # noqa: N802
        path = urlsplit(self.path).path
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.post(path, raw):
            self.json(404, {"error": "Account Not Found", "description": "No such endpoint.", "status_code": 404})

    def get(self, path: str) -> bool:
        state = self.server.state
        match path:
            case "/":
                query = dict(parse_qsl(urlsplit(self.path).query))
                # The script on the page sends `seen`, the version that the page shows. Status 204 tells the script that
                # nothing has changed.
                if query.get("seen") == str(state.version):
                    self.answer(204, b"", "text/html")
                else:
                    html = self.server.page.html(query.get("find", ""))
                    self.answer(200, html.encode(), "text/html; charset=utf-8")
            case "/inbox.json":
                self.json(200, state.inbox())
            case "/counts.json":
                self.json(200, state.counts())
            case "/requests.json":
                with state.lock:
                    asked = {"counts": dict(state.requests_by_path), "requests": list(state.requests)}
                self.json(200, asked)
            case "/faults":
                self.json(200, asdict(state.faults))
            case path:
                file = self.server.page.file(path)
                if file:
                    self.answer(200, *file)
                return file is not None
        return True

    def post(self, path: str, raw: bytes) -> bool:
        state = self.server.state
        if path in dmark.PLACES:
            self._texts(path, raw)
        elif path == "/faults":
            self._set_faults(raw)
        elif found := _REPLY.fullmatch(path):
            self._reply(found[1], raw)
        elif path == "/reset":
            state.reset()
            self.done(asdict(state.faults))
        elif path == "/well":
            state.set_faults(asdict(state.faults_class()))
            self.done(asdict(state.faults))
        else:
            return False
        return True

    def _set_faults(self, raw: bytes) -> None:
        try:
            values = self.values(raw)
            if not isinstance(values, dict):
                raise ValueError("Give the switches as an object: name and value.")
            self.server.state.set_faults(values)
        except ValueError as error:
            self.json(400, {"error": str(error)})
            return
        self.done(asdict(self.server.state.faults))

    def _reply(self, number: str, raw: bytes) -> None:
        """Send an SMS from a phone of the sandbox to the site, in the format of DMark's inbound SMS."""
        inbound = self.server.page.links.inbound
        text = str(self.fields(raw).get("text") or "").strip()
        if not text or not inbound:
            self.json(400, {"error": "text is missing." if inbound else "The sandbox has no address for inbound SMS."})
            return
        reply = Reply(number, text, now())
        fields = {"msisdn": "256" + number[1:], "text": text, "short_code": "8008", "tstamp": reply.sent_at}
        status = push(inbound, fields, "form")
        reply.note = "received by the site" if status == 200 else f"the site answered {status}"
        if status is None:
            reply.note = "the site did not answer"
        with self.server.state.lock:
            self.server.state.replies.append(reply)
            self.server.state.version += 1
        self.done({"number": number, "text": text, "note": reply.note})

    def values(self, raw: bytes) -> Any:
        """Return the fields of a form, or the parsed JSON. Raises ValueError if the body cannot be parsed."""
        return dict(parse_qsl(raw.decode())) if self.is_form() else json.loads(raw or b"{}")

    def fields(self, raw: bytes) -> dict[str, Any]:
        """Return the fields of a form or of a JSON object, or an empty dict for any other body."""
        try:
            values = self.values(raw)
        except ValueError:
            return {}
        return values if isinstance(values, dict) else {}

    def done(self, value: object) -> None:
        """Redirect to the page if the request was a form. Otherwise respond with `value` as JSON."""
        if self.is_form():
            query = urlsplit(self.headers.get("Referer", "")).query
            self.answer(303, b"", "text/plain", Location=f"/?{query}" if query else "/")
        else:
            self.json(200, value)

    def is_form(self) -> bool:
        return "urlencoded" in self.headers.get("Content-Type", "")

    def _texts(self, path: str, raw: bytes) -> None:
        state, place = self.server.state, dmark.PLACES[path]
        body = json_or_none(raw)
        shown = {**body, "password": "[redacted]"} if place == dmark.TOKEN and isinstance(body, dict) else body
        state.record("POST", path, shown)
        if state.faults.latency_ms:
            time.sleep(state.faults.latency_ms / 1000)
        token = self.headers.get("authToken", "")
        self.give(
            state.fault(place, str(body.get("numbers") or "") if isinstance(body, dict) else ""),
            state.faults,
            lambda: self.server.dmark.reply(path, body, token),
            lambda status: dmark.refusal(place, status),
        )


class Server(ThreadingHTTPServer):
    """The sandbox's HTTP server. A subclass can replace the classes of the handler, the state and the page."""

    daemon_threads = True
    request_queue_size = 256
    handler_class: ClassVar[type[Handler]] = Handler
    state_class: ClassVar[type[State]] = State
    page_class: ClassVar[type[Page]] = Page

    def __init__(self, port: int, host: str = "127.0.0.1", links: Links = Links()) -> None:  # noqa: B008
        super().__init__((host, port), self.handler_class)
        self.state = self.state_class()
        self.page = self.page_class(self.state, links)
        self.dmark = dmark.DMark(self.state)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def server_close(self) -> None:
        super().server_close()
        self.state.later.stop()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log an unhandled error. A closed connection is logged as DEBUG: simulated faults also close connections."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            logger.debug("sandbox: a client closed the connection (%s)", type(error).__name__)
        else:
            logger.error("sandbox: a request failed", exc_info=error)


def json_or_none(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None
