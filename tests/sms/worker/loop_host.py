"""A TCP server with one fixed behavior, and the worker's engine with short conversations."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import Any

from sms import clock, conf
from sms.dmark.conversation import Conversation, OnExchange, Request
from sms.sending.claims import ClaimedRow
from sms.worker.engine.loop import ENDED, Engine, Job
from tests.conftest import wait_for

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"msg_id": 7}'
CONNECT, READ = 0.4, 1.2


class Host:
    """A TCP server. `serve` is called with the server, each new connection and the connection's number."""

    def __init__(self, serve: Callable[["Host", socket.socket, int], None]) -> None:
        self.requests: list[bytes] = []
        self._serve, self._connections = serve, 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/send/"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections += 1
            threading.Thread(target=self._handle, args=(connection, self._connections), daemon=True).start()

    def _handle(self, connection: socket.socket, number: int) -> None:
        with connection:
            self._serve(self, connection, number)

    def read(self, connection: socket.socket) -> bytes:
        """Read one complete request. Return b"" if the client has closed the connection."""
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return b""
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return data

    def close(self) -> None:
        self._listener.close()


@contextmanager
def host(serve: Callable[[Host, socket.socket, int], None]) -> Iterator[Host]:
    one = Host(serve)
    try:
        yield one
    finally:
        one.close()


def text(number: int) -> ClaimedRow:
    soon = datetime(2030, 1, 1, tzinfo=timezone.utc)
    return ClaimedRow(number, "+256772123456", "x", "", None, soon, "", 0, 0, 0, "")


def opened(talk: Conversation[str], note: OnExchange) -> Conversation[str]:
    return talk


class Driver:
    """A running engine. `answer`: returns a token or an error for each of the engine's requests for a token."""

    def __init__(self, in_flight: int = 64, unrecorded: int = 50, connect: float = CONNECT, read: float = READ) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[str], Any] = lambda rejected: "token"
        config = replace(conf.current(), connect_timeout=connect, read_timeout=read)
        self.loop = Engine(config, in_flight=in_flight, unrecorded=unrecorded, batch=25, wake_owner=lambda: None)
        self.loop.tokens.asked = self
        self.loop.leases_hold_until = clock.monotonic() + 1000
        self.loop.start()

    def put(self, rejected: str | None) -> None:
        """Receive the engine's request for a token. Replaces the queue of the thread that gets tokens."""
        if rejected is not None:
            self.asked.append(rejected)
            if (answer := self.answer(rejected)) is not None:
                self.give_token(rejected, answer)

    def give_token(self, rejected: str, answer: Any) -> None:
        self.loop.tokens.answers.append((rejected, answer, []))
        self.loop.submit([])

    def submit(self, *talks: Conversation[str], until: float = float("inf")) -> list[Job]:
        jobs = [Job(text(number), partial(opened, talk), until) for number, talk in enumerate(talks)]
        self.loop.submit(jobs)
        return jobs

    def results(self, *talks: Conversation[str]) -> list[Any]:
        jobs = self.submit(*talks)
        wait_for(lambda: all(job.step == ENDED for job in jobs))
        self.loop.note_recorded(len(self.loop.take()))
        return [job.ending for job in jobs]


def once(url: str, payload: bytes = b"{}") -> Conversation[str]:
    """A conversation of one request. It returns the status and text of the response."""
    reply = yield Request("send", url, payload, "token")
    return f"{reply.status} {reply.text}"


def answering(body: bytes, *, close: bool = False, delay: float = 0.0) -> Callable[[Host, socket.socket, int], None]:
    def serve(host: Host, connection: socket.socket, number: int) -> None:
        while host.read(connection):
            time.sleep(delay)
            connection.sendall(body)
            if close:
                return

    return serve
