"""The engine with conversations of one request, against servers with one fixed behavior."""

import socket
import time
from typing import Any

import pytest

from sms.dmark.conversation import NoResponse
from sms.worker.engine.transfer import Transfer
from tests.sms.worker.loop_host import ANSWER, CONNECT, READ, Driver, Host, answering, host, once


def test_an_answer_that_cannot_be_read_is_in_doubt(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(transfer: Transfer, code: int) -> None:
        raise ValueError("unreadable")

    monkeypatch.setattr(Transfer, "event", broken)
    with host(answering(ANSWER)) as one:
        [result] = driver.results(once(one.url))
    assert isinstance(result, NoResponse)
    assert result.request_written
    assert "sms.worker_error" in caplog.text


def test_a_kept_connection_that_dies_unanswered_is_not_asked_again() -> None:
    """By default, libcurl resends such a POST and reports success.

    Incident elsewhere: celery/celery#4400 is a duplicate of this kind.
    """

    def serve(host: Host, connection: socket.socket, number: int) -> None:
        host.read(connection)
        connection.sendall(ANSWER)
        host.read(connection)  # reads the second request, and closes the connection without a response

    with host(serve) as one:
        driver = Driver()
        assert driver.results(once(one.url)) == ['200 {"msg_id": 7}']
        [lost] = driver.results(once(one.url, b'{"second": 1}'))
        assert isinstance(lost, NoResponse)
        assert (lost.request_written, lost.timed_out) == (True, False)
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
    assert isinstance(lost, NoResponse)
    assert not lost.request_written


def test_a_connection_that_is_not_taken_leaves_nothing(driver: Driver) -> None:
    """The connect timeout applies here, not the longer read timeout."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        # The server's queue is full, so it does not respond to further connections.
        held = [socket.socket() for _ in range(3)]
        for one in held:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        [lost] = driver.results(once(f"http://127.0.0.1:{port}/"))
        for one in held:
            one.close()
    assert isinstance(lost, NoResponse)
    assert (lost.request_written, lost.timed_out) == (False, True)
    assert lost.ms < READ * 1000


def test_tls_with_one_that_speaks_none(driver: Driver) -> None:
    def serve(host: Host, connection: socket.socket, number: int) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with host(serve) as one:
        [lost] = driver.results(once(one.url.replace("http:", "https:")))
    assert isinstance(lost, NoResponse)
    assert not lost.request_written


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", b"HTTP/1.1 2"],
    ids=["none", "cut", "half a line"],
)
def test_written_and_not_answered_in_full(driver: Driver, answer: bytes) -> None:
    with host(answering(answer, close=True)) as one:
        [lost] = driver.results(once(one.url))
    assert isinstance(lost, NoResponse)
    assert (lost.request_written, lost.timed_out) == (True, False)
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
        assert isinstance(lost, NoResponse)
        assert (lost.request_written, lost.timed_out) == (True, True)
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
