"""The sandbox's HTTP responses: the correct response to a request, or a simulated fault."""

import json
import logging
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from sms.sandbox.faults import Fault, Faults

logger = logging.getLogger("sms.sandbox")

HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True)
class Reply:
    """The correct response to a request. `after`: called after the correct or the faulty response was written."""

    status: int
    body: object
    after: Callable[[], object] | None = None


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def give(self, fault: Fault, faults: Faults, act: Callable[[], Reply], refusal: Callable[[int], Any]) -> None:
        """Respond with the result of `act`, or with a fault.

        `act`: carries out the request and returns the correct response. `refusal`: returns the body of a 4xx response.
        """
        reply = act() if fault.taken else None
        if fault.name == "late":
            time.sleep(faults.answer_after)
        if fault.name in ("ok", "late"):
            reply = reply or act()
            self.json(reply.status, reply.body)
        else:
            self._fault(fault.name, faults, refusal)
        if reply and reply.after:
            reply.after()

    def _fault(self, fault: str, faults: Faults, refusal: Callable[[int], Any]) -> None:  # noqa: C901
        match fault:
            case "hang":
                time.sleep(faults.hang_seconds)
                self.close_connection = True
            case "slow":
                self._drip(b'{"status_code": "200", "description": "' + b"x" * 400 + b'"}', faults.hang_seconds)
            case "reset":
                # With a linger time of zero, closing the socket sends an RST instead of a FIN.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
            case "truncated":
                self._headers(200, 500, "application/json")
                self.wfile.write(b'{"Failed": 0, "To')
                self.close_connection = True
            case "html":
                self.answer(200, HTML.encode(), "text/html")
            case "huge":
                self.answer(200, b'{"description": "' + b"x" * 3_000_000 + b'"}', "application/json")
            case "list":
                self.json(200, [1, 2, 3])
            case "empty":
                self.answer(200, b"", "application/json")
            case "not_json":
                self.answer(200, b'{"Failed": 0, "Total"', "application/json")
            case "wrong_type":
                self.answer(200, b"Message accepted", "text/plain")
            case "nul":
                self.answer(400, b'{"description": "a\\u0000b\\ud800c", "x": "\x00\xff"}', "application/json")
            case "redirect":
                self.answer(301, b"", "text/html", Location=self.path.rstrip("/"))
            case "body_401" | "body_500":
                self.json(200, {"msg_id": "", "status_code": fault[5:], "description": "Refused in the body"})
            case "429":
                self.json(429, refusal(429), Retry_After=f"{faults.retry_after:g}")
            case _ if int(fault) >= 500:
                self.answer(int(fault), HTML.encode(), "text/html")
            case _:
                self.json(int(fault), refusal(int(fault)))

    def _drip(self, body: bytes, seconds: float) -> None:
        self._headers(200, len(body), "application/json")
        self.close_connection = True
        end = time.monotonic() + seconds
        for offset in range(len(body)):
            if time.monotonic() > end:
                return
            self.wfile.write(body[offset : offset + 1])
            self.wfile.flush()
            time.sleep(0.1)

    def json(self, status: int, value: object, **headers: str) -> None:
        self.answer(status, json.dumps(value).encode(), "application/json", **headers)

    def answer(self, status: int, body: bytes, content_type: str, **headers: str) -> None:
        self._headers(status, len(body), content_type, **headers)
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def _headers(self, status: int, length: int, content_type: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        logger.debug(format, *args)
