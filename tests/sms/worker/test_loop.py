"""The loop with conversations of a line, against hosts that do just one thing: what left, what came, what is said."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from typing import Any

import pytest

from sms.dmark.conversation import Given, Lost, NeedToken, Note, Pause, Request, Talk
from sms.errors import ProviderUnavailable
from sms.sending.claims import Claimed
from sms.worker.loop import ENDED, WAITING, Answer, Job, Loop
from sms.worker.transfer import Transfer
from tests.conftest import wait_for

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"msg_id": 7}'
CONNECT, READ = 0.4, 1.2


class Host:
    """A TCP server; `serve` is given each connection and its number."""

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
        """One request, whole; b"" when the other side has closed."""
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


def text(number: int) -> Claimed:
    soon = datetime(2030, 1, 1, tzinfo=timezone.utc)
    return Claimed(number, "+256772123456", "x", "", None, soon, "", 0, 0, 0, "")


def opened(talk: Talk[str], note: Note) -> Talk[str]:
    return talk


class Driver:
    """A loop that runs; `tokens` are the answers to its questions for one, each a token or an error."""

    def __init__(self, in_flight: int = 64, unwritten: int = 50, connect: float = CONNECT, read: float = READ) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[str], Any] = lambda rejected: "token"
        self.loop: Loop = Loop(
            in_flight=in_flight,
            unwritten=unwritten,
            batch=25,
            connect_timeout=connect,
            read_timeout=read,
            ask_token=self._ask,
            ring=lambda: None,
        )
        self.loop.leases_hold_until = time.monotonic() + 1000
        self.loop.start()

    def _ask(self, rejected: str) -> None:
        self.asked.append(rejected)
        if (answer := self.answer(rejected)) is not None:
            self.loop.give_token(Answer(rejected, answer, []))

    def submit(self, *talks: Talk[str], until: float = float("inf")) -> list[Job]:
        jobs = [Job(text(number), partial(opened, talk), until) for number, talk in enumerate(talks)]
        self.loop.submit(jobs)
        return jobs

    def results(self, *talks: Talk[str]) -> list[Any]:
        jobs = self.submit(*talks)
        wait_for(lambda: all(job.step == ENDED for job in jobs))
        self.loop.written(len(self.loop.take(len(jobs))))
        return [job.result for job in jobs]


@pytest.fixture
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    assert driver.loop.quit(5)


def once(url: str, payload: bytes = b"{}") -> Talk[str]:
    """One request; what was said, or that it was lost."""
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


def test_an_answer_that_cannot_be_read_is_in_doubt(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(transfer: Transfer) -> None:
        raise ValueError("unreadable")

    monkeypatch.setattr(Transfer, "reply", broken)
    with host(answering(ANSWER)) as one:
        [result] = driver.results(once(one.url))
    assert isinstance(result, Lost)
    assert result.written
    assert "sms.worker_error" in caplog.text


def test_a_kept_connection_that_dies_unanswered_is_not_asked_again() -> None:
    """libcurl left alone sends a POST again by itself and reports success; celery/celery#4400 is such a double."""

    def serve(host: Host, connection: socket.socket, number: int) -> None:
        host.read(connection)
        connection.sendall(ANSWER)
        host.read(connection)  # the second on this connection: read whole, and closed without a word

    with host(serve) as one:
        driver = Driver()
        assert driver.results(once(one.url)) == ['200 {"msg_id": 7}']
        [lost] = driver.results(once(one.url, b'{"second": 1}'))
        assert isinstance(lost, Lost)
        assert (lost.written, lost.late) == (True, False)
        time.sleep(0.3)
        assert len(one.requests) == 2
        assert sum(b"second" in request for request in one.requests) == 1
        assert driver.loop.quit(5)


def nothing_there() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


@pytest.mark.parametrize("url", ["", "http://no-such-host.invalid/", "ftp://127.0.0.1/", "http://"])
def test_surely_nothing_left(driver: Driver, url: str) -> None:
    [lost] = driver.results(once(url or nothing_there()))
    assert isinstance(lost, Lost)
    assert not lost.written


def test_a_connection_that_is_not_taken_leaves_nothing(driver: Driver) -> None:
    """Connect and read time-outs are different limits: this ends after the first."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        # Whoever comes after these is not answered.
        held = [socket.socket() for _ in range(3)]
        for one in held:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        [lost] = driver.results(once(f"http://127.0.0.1:{port}/"))
        for one in held:
            one.close()
    assert isinstance(lost, Lost)
    assert (lost.written, lost.late) == (False, True)
    assert lost.ms < READ * 1000


def test_tls_with_one_that_speaks_none(driver: Driver) -> None:
    def serve(host: Host, connection: socket.socket, number: int) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with host(serve) as one:
        [lost] = driver.results(once(one.url.replace("http:", "https:")))
    assert isinstance(lost, Lost)
    assert not lost.written


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", b"HTTP/1.1 2"],
    ids=["none", "cut", "half a line"],
)
def test_written_and_not_answered_in_full(driver: Driver, answer: bytes) -> None:
    with host(answering(answer, close=True)) as one:
        [lost] = driver.results(once(one.url))
    assert isinstance(lost, Lost)
    assert (lost.written, lost.late) == (True, False)
    assert len(one.requests) == 1


def test_an_answer_slower_than_connecting_may_be_is_waited_for(driver: Driver) -> None:
    with host(answering(ANSWER, delay=(CONNECT + READ) / 2)) as one:
        assert driver.results(once(one.url)) == ['200 {"msg_id": 7}']


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"])
def test_an_answer_slower_than_reading_may_be_is_late(driver: Driver, first: bytes) -> None:
    def serve(host: Host, connection: socket.socket, number: int) -> None:
        host.read(connection)
        connection.sendall(first)
        for _ in range(40):
            time.sleep(0.1)
            try:
                connection.sendall(b" " if first else b"")
            except OSError:
                return

    with host(serve) as one:
        [lost] = driver.results(once(one.url))
        assert isinstance(lost, Lost)
        assert (lost.written, lost.late) == (True, True)
        assert lost.ms >= READ * 1000
        assert len(one.requests) == 1


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere/\r\nContent-Length: 0\r\n\r\n", "302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70000, "200"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n" + b"x" * 70000 + b"\r\n0\r\n\r\n", "200"),
        (b"HTTP/1.1 413 Too large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "413"),
    ],
    ids=["redirect", "huge", "huge and chunked", "too large"],
)
def test_an_answer_whatever_it_says(driver: Driver, answer: bytes, status: str) -> None:
    with host(answering(answer, close=True)) as one:
        [said] = driver.results(once(one.url))
        assert said.split()[0] == status
        assert len(one.requests) == 1


def test_what_goes_over_the_line(driver: Driver, monkeypatch: Any) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")
    payload = '{"msg": "Curly ’ŋ €"}'.encode()
    with host(answering(ANSWER)) as one:
        driver.results(once(one.url, payload))
        big = b'{"msg": "' + b"x" * 40_000 + b'"}'
        driver.results(once(one.url, big))
    head, _, body = one.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /send/ HTTP/1.1\r\n")
    assert body == payload
    lines = head.lower().split(b"\r\n")
    assert b"authtoken: token" in lines
    assert b"content-type: application/json" in lines
    assert not [line for line in lines if line.startswith((b"expect", b"transfer-encoding"))]
    assert one.requests[1].endswith(big)


def test_connections_are_kept(driver: Driver) -> None:
    seen: set[int] = set()

    def serve(host: Host, connection: socket.socket, number: int) -> None:
        seen.add(number)
        answering(ANSWER)(host, connection, number)

    with host(serve) as one:
        for _ in range(5):
            driver.results(once(one.url))
    assert len(one.requests) == 5
    assert len(seen) == 1


# --- what is begun


def test_no_more_is_begun_than_a_crash_may_double() -> None:
    """alphagov/notifications-api#474 and hypothesis/lms#5346: what a crash sends again has a bound."""
    driver = Driver(in_flight=4, unwritten=6)
    with host(answering(ANSWER, delay=0.02)) as one:
        jobs = driver.submit(*(once(one.url) for _ in range(30)))
        wait_for(lambda: driver.loop.waiting() == 10)
        time.sleep(0.2)
        assert len(one.requests) == 10
        assert not driver.loop.begun
        driver.loop.written(len(driver.loop.take(3)))
        wait_for(lambda: len(one.requests) == 13)
        while any(job.step != ENDED for job in jobs):
            driver.loop.written(len(driver.loop.take(50)))
            time.sleep(0.01)
        assert len(one.requests) == 30
    assert driver.loop.quit(5)


def test_nothing_is_begun_once_the_leases_may_have_run_out(driver: Driver) -> None:
    """cds-snc/notification-api#1912, hexpm/hexpm#1825: a stalled worker does not go on with what another has by now."""
    driver.loop.leases_hold_until = time.monotonic() - 0.01
    with host(answering(ANSWER)) as one:
        [job] = driver.submit(once(one.url))
        time.sleep(0.2)
        assert (job.step, one.requests) == (WAITING, [])
        driver.loop.leases_hold_until = time.monotonic() + 10
        driver.loop.wake()
        wait_for(lambda: job.step == ENDED)


def test_too_late_to_begin_is_handed_back(driver: Driver) -> None:
    [job] = driver.submit(once("http://127.0.0.1:9/"), until=time.monotonic() - 1)
    wait_for(lambda: driver.loop.waiting() == 1)
    assert driver.loop.take(5) == [job]
    assert not job.begun


def test_what_is_not_begun_is_taken_back() -> None:
    driver = Driver(in_flight=1)
    with host(answering(ANSWER, delay=0.5)) as one:
        first, *others = driver.submit(*(once(one.url) for _ in range(4)))
        wait_for(lambda: len(one.requests) == 1)
        assert driver.loop.take_back() == others
        wait_for(lambda: first.step == ENDED)
        assert len(one.requests) == 1
    assert driver.loop.quit(5)


def test_a_conversation_with_a_defect_ends_alone(driver: Driver) -> None:
    def broken() -> Talk[str]:
        yield Pause(0.01)
        raise KeyError("a defect")

    def unsendable(url: str) -> Talk[str]:
        yield Request("send", url, b"{}", "a\ud800token")
        return "never"

    with host(answering(ANSWER)) as one:
        bad, worse, good = driver.results(broken(), unsendable(one.url), once(one.url))
    assert isinstance(bad, KeyError)
    assert isinstance(worse, UnicodeError)
    assert good.startswith("200")


# --- pauses and tokens


def test_pauses_end_in_their_order(driver: Driver) -> None:
    order = []

    def pausing(name: str, seconds: float) -> Talk[str]:
        yield Pause(seconds)
        order.append(name)
        return name

    driver.results(pausing("late", 0.3), pausing("soon", 0.05), pausing("between", 0.15))
    assert order == ["soon", "between", "late"]


def test_draining_cuts_pauses_short(driver: Driver) -> None:
    def patient() -> Talk[str]:
        return "gave up" if (yield Pause(60)) is False else "never"

    [before] = driver.submit(patient())
    wait_for(lambda: "pause" in before.step)
    driver.loop.drain()
    [after] = driver.submit(patient())
    wait_for(lambda: {before.result, after.result} == {"gave up"})


def with_token(got: list[str], rejects: str = "") -> Talk[str]:
    given: Given = yield NeedToken("")
    if given.token == rejects:
        given = yield NeedToken(rejects)
    got.append(given.token)
    return given.token


def test_many_who_need_a_token_ask_once(driver: Driver) -> None:
    got: list[str] = []
    driver.answer = lambda rejected: None
    jobs = driver.submit(*(with_token(got) for _ in range(20)))
    wait_for(lambda: all(job.step.startswith("token") for job in jobs))
    driver.loop.give_token(Answer("", "one", []))
    wait_for(lambda: len(got) == 20)
    assert set(got) == {"one"}
    assert driver.asked == [""]
    # For a second it is used without a look at the cache.
    driver.results(*(with_token(got) for _ in range(5)))
    assert len(driver.asked) <= 2


def test_a_refused_token_is_replaced_once_for_all(driver: Driver) -> None:
    got: list[str] = []
    driver.answer = lambda rejected: "fresh" if rejected == "stale" else "stale"
    driver.results(*(with_token(got, rejects="stale") for _ in range(20)))
    assert set(got) == {"fresh"}
    assert [asked for asked in driver.asked if asked] == ["stale"]


def test_dmark_may_give_the_refused_token_again(driver: Driver) -> None:
    got: list[str] = []
    driver.answer = lambda rejected: "stale"
    driver.results(with_token(got, rejects="stale"))
    assert got == ["stale"]
    assert driver.asked == ["", "stale"]


def test_a_token_that_cannot_be_had_fails_all_who_wait(driver: Driver) -> None:
    got: list[str] = []
    driver.answer = lambda rejected: ProviderUnavailable("DMark is in trouble (503).", 503)
    results = driver.results(*(with_token(got) for _ in range(5)))
    assert {str(result) for result in results} == {"DMark is in trouble (503)."}
    assert len({id(result) for result in results}) == 5
    driver.answer = lambda rejected: "again"
    assert driver.results(with_token(got)) == ["again"]
