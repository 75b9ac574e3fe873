"""Players who stake, pay and poll over HTTP, with as little CPU of their own as possible.

Each player is a thread with one open connection for each site. A library such as `requests` would use about 2 ms of CPU
for each request, which the service on the same machine could not use then.
"""

import itertools
import json
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from benchmarks.service import SECRET, Service

NO_ANSWER = "no answer"
_TIMEOUT = 30.0
# The headers that the `requests` library would send. Earlier versions of this benchmark used this library.
_HEADERS = "User-Agent: players\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n"


class Answer:
    """A response: its status, its entity tag or "", and its body."""

    __slots__ = ("body", "etag", "status")

    def __init__(self, head: bytes, body: bytes) -> None:
        self.status, self.body = int(head[9:12]), body
        self.etag = _header(head, b"etag")


class Client:
    """Connections to the sites that stay open between requests. Responses must have a Content-Length."""

    def __init__(self) -> None:
        self._open: dict[str, socket.socket] = {}

    def ask(self, site: str, head: str, body: bytes = b"") -> Answer:
        """Send a request and wait for its response. `head`: the request line and headers, without Host and length.

        Raises OSError if there is no complete response.
        """
        connection = self._open.pop(site, None) or self._connect(site)
        length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        try:
            connection.sendall(f"{head}Host: {urlsplit(site).netloc}\r\n{_HEADERS}{length}\r\n".encode() + body)
            answer, stays_open = _read(connection)
        except BaseException:
            connection.close()
            raise
        if stays_open:
            self._open[site] = connection
        else:
            connection.close()
        return answer

    def _connect(self, site: str) -> socket.socket:
        parts = urlsplit(site)
        connection = socket.create_connection((parts.hostname or "", parts.port or 80), _TIMEOUT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def _read(connection: socket.socket) -> tuple[Answer, bool]:
    """Return the response, and True if the connection stays open."""
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += _receive(connection)
    head, body = received[:end], received[end + 4 :]
    missing = int(_header(head, b"content-length") or 0) - len(body)
    if head[9:12] == b"304":
        missing = 0
    while missing > 0:
        part = _receive(connection)
        body, missing = body + part, missing - len(part)
    return Answer(head, body), _header(head, b"connection") != "close"


def _receive(connection: socket.socket) -> bytes:
    part = connection.recv(65536)
    if not part:
        raise ConnectionError("The site closed the connection.")
    return part


def _header(head: bytes, name: bytes) -> str:
    """Return the value of a header, or "". `name` is in lower case."""
    start = head.lower().find(b"\r\n" + name + b":")
    if start < 0:
        return ""
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip().decode()


class Players:
    """Threads that stake and pay without a pause. A request without a response is repeated at another site."""

    def __init__(self, service: Service) -> None:
        self.service, self.options = service, service.options
        self.until = 0.0
        self.broken: list[str] = []
        self.took: dict[str, list[float]] = defaultdict(list)
        self.said: dict[str, Counter[str]] = defaultdict(Counter)
        self.threads: list[threading.Thread] = []
        self._numbers: dict[int, Iterator[int]] = defaultdict(itertools.count)
        # With the option `placed`: the stakes of each player that are not paid yet.
        self._placed: dict[int, list[tuple[dict[str, Any], str]]] = defaultdict(list)

    def warm_up(self) -> None:
        """Place the stakes of the option `placed` and pay some of them, or play for some seconds, unmeasured.

        Each connection plans each statement several times before it keeps a plan.
        """
        self.until = time.monotonic() + self.options.warm_up
        self._start(self._place_first if self.options.placed else self._stake_and_pay)
        for thread in self.threads:
            thread.join()
        self.took.clear()
        self.said.clear()

    def start(self) -> None:
        self.until = time.monotonic() + self.options.seconds
        self._start(self._pay_placed if self.options.placed else self._stake_and_pay)

    def _start(self, play: Callable[[int], None]) -> None:
        self.threads = [
            threading.Thread(target=self._play, args=(play, lane), daemon=True) for lane in range(self.options.players)
        ]
        for thread in self.threads:
            thread.start()

    def done(self) -> int:
        return sum(len(took) for took in list(self.took.values()))

    def _play(self, play: Callable[[int], None], lane: int) -> None:
        try:
            play(lane)
        except Exception as error:
            self.broken.append(f"a player gave up: {error!r}")
            raise

    def _place_first(self, lane: int) -> None:
        client, sites = Client(), self._sites(lane)
        for number in range(self.options.placed // self.options.players):
            phone = f"078{lane + 1:02}{number:05}"
            body = {"phone_number": phone, "stake_amount": 1000 * (1 + number % self.options.amounts)}
            if placed := self._post(client, sites, "stake", "/api/v1/game/stake", body):
                self._placed[lane].append((placed, phone))
        # Pay the first eighth of the placed stakes.
        stakes = self._placed[lane]
        for placed, phone in stakes[: len(stakes) // 8]:
            self._pay(client, sites, placed, phone)
        del stakes[: len(stakes) // 8]

    def _pay_placed(self, lane: int) -> None:
        client, sites = Client(), self._sites(lane)
        for placed, phone in self._placed[lane]:
            self._pay(client, sites, placed, phone)

    def _stake_and_pay(self, lane: int) -> None:
        client, sites = Client(), self._sites(lane)
        for number in self._numbers[lane]:
            time.sleep(self.options.pause)
            if time.monotonic() > self.until:
                return
            # Numbers of lane 0 have fixed outcomes in the sandbox, so they are not used.
            line = f"{lane + 1:02}{number % 100_000:05}"
            phone, friend = f"078{line}", f"070{line}"
            private = number % 4 == 0
            body: dict[str, Any] = {"phone_number": phone, "stake_amount": 1000 * (1 + number % self.options.amounts)}
            if private:
                body |= {"create_private": True, "invite_phone": friend}
            placed = self._post(client, sites, "stake", "/api/v1/game/stake", body)
            if not placed or not self._pay(client, sites, placed, phone):
                continue
            code = self._poll(client, sites, placed)
            if private and code:
                joined = {"phone_number": friend, "stake_amount": body["stake_amount"], "match_code": code}
                answer = self._post(client, sites, "stake", "/api/v1/game/stake", joined)
                if answer and self._pay(client, sites, answer, friend):
                    self._poll(client, sites, answer)

    def _sites(self, lane: int) -> Iterator[str]:
        """Yield the sites in turn. An upgrade adds sites."""
        for number in itertools.count(lane):
            yield self.service.sites[number % len(self.service.sites)]

    def _poll(self, client: Client, sites: Iterator[str], placed: dict[str, Any]) -> str:
        """Poll the stake's status, as its page does. Return the match code, if there is one."""
        head, code, known = f"GET /api/v1/game/queue/status?queue_token={placed['queue_token']} HTTP/1.1\r\n", "", ""
        for _ in range(self.options.polls):
            answer = self._ask(client, sites, "status", f"{head}If-None-Match: {known}\r\n" if known else head)
            if answer is not None and answer.status == 200:
                code, known = json.loads(answer.body).get("match_code") or code, answer.etag
        return code

    def _pay(self, client: Client, sites: Iterator[str], placed: dict[str, Any], phone: str) -> bool:
        if self.options.money == "dmarkpay":
            return False  # The sandbox's phone pays later.
        paid = {
            "transaction_id": placed["transaction_id"],
            "phone_number": phone,
            "amount": placed["total_amount"],
            "status": "SUCCESS",
        }
        return bool(
            self._post(client, sites, "callback", "/api/v1/momo/callback", paid, f"X-Callback-Secret: {SECRET}\r\n")
        )

    def _post(
        self, client: Client, sites: Iterator[str], what: str, path: str, body: dict[str, Any], headers: str = ""
    ) -> "dict[str, Any] | None":
        answer = self._ask(client, sites, what, f"POST {path} HTTP/1.1\r\n{headers}", json.dumps(body).encode())
        return json.loads(answer.body) if answer is not None and answer.status == 200 else None

    def _ask(self, client: Client, sites: Iterator[str], what: str, head: str, body: bytes = b"") -> "Answer | None":
        for _ in range(5):
            started = time.perf_counter()
            try:
                answer = client.ask(next(sites), head, body)
            except OSError:
                self.said[what][NO_ANSWER] += 1
                time.sleep(0.2)
                continue
            self.took[what].append((time.perf_counter() - started) * 1000)
            self.said[what][str(answer.status)] += 1
            return answer
        return None
