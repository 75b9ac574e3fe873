"""Compare the fake provider with libcurl: each case runs through both, with the engine's `Transfer`."""

import socket
import time
from collections.abc import Callable
from typing import Any

import pycurl
import pytest

from sms.dmark.conversation import Request
from sms.worker.engine.transfer import Transfer
from tests.servers import free_port
from tests.simulation.network import ANSWERED, CLOSED, CUT, RESET, SILENT, Plan, Provider, SimCurl, SimMulti
from tests.simulation.runtime import SimRuntime
from tests.simulation.scheduler import Process, Scheduler
from tests.simulation.world import CONFIG
from tests.sms.worker.loop_host import Host, host

PAYLOAD = b'{"msg": "message 1"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Seen = tuple[int, bool, int, list[str]]


def drive(multi: Any, transfer: Transfer, wait: Callable[[dict[int, int], float], list[tuple[int, int]]]) -> Seen:
    """Run one transfer.

    Returns the result code, True if anything was written, the HTTP status, and the callbacks in order.
    """
    watched: dict[int, int] = {}
    calls: list[str] = []

    def watch(event: int, fd: int, *_: object) -> None:
        if event == pycurl.POLL_REMOVE:
            watched.pop(fd, None)
        else:
            watched[fd] = event

    multi.setopt(pycurl.M_SOCKETFUNCTION, watch)
    multi.setopt(pycurl.M_TIMERFUNCTION, lambda milliseconds: None)
    may_write = transfer._may_write
    transfer._may_write = lambda it: calls.append("may write") or may_write(it)  # type: ignore[func-returns-value]
    multi.add_handle(transfer.curl)
    multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
    for _ in range(400):
        _, ended, failed = multi.info_read()
        if ended or failed:
            calls.append("ended")
            code = 0 if ended else failed[0][1]
            written = transfer.curl.getinfo(pycurl.REQUEST_SIZE) > 0
            status = transfer.curl.getinfo(pycurl.RESPONSE_CODE) if code == 0 else 0
            multi.remove_handle(transfer.curl)
            return code, written, status, calls
        for fd, flags in wait(watched, 0.05):
            multi.socket_action(fd, flags)
        multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
    raise AssertionError("the transfer did not end")


def over_libcurl(url: str, *, may_write: bool = True) -> Seen:
    import select

    transfer = Transfer(0.4, 0.6, lambda it: may_write)
    transfer.prepare(Request("send", url, PAYLOAD, "token"), fresh_connection=False)

    def wait(watched: dict[int, int], seconds: float) -> list[tuple[int, int]]:
        reads = [fd for fd, events in watched.items() if events & pycurl.POLL_IN]
        writes = [fd for fd, events in watched.items() if events & pycurl.POLL_OUT]
        ready, writable, _ = select.select(reads, writes, [], seconds)
        return [(fd, pycurl.CSELECT_IN) for fd in ready] + [(fd, pycurl.CSELECT_OUT) for fd in writable]

    return drive(pycurl.CurlMulti(), transfer, wait)


def over_the_fake(monkeypatch: Any, behave: Callable[[Provider], None], *, may_write: bool = True) -> Seen:
    scheduler = Scheduler("fake")
    runtime, provider = SimRuntime(scheduler), Provider(scheduler)
    provider.token = "token"
    behave(provider)
    seen: list[Seen] = []

    monkeypatch.setattr(pycurl, "Curl", SimCurl)

    def run() -> None:
        multi = SimMulti(scheduler, runtime.descriptors, provider)
        transfer = Transfer(0.4, 0.6, lambda it: may_write)
        transfer.prepare(Request("send", "http://127.0.0.1:9/send/", PAYLOAD, "token"), fresh_connection=False)

        def wait(watched: dict[int, int], seconds: float) -> list[tuple[int, int]]:
            scheduler.park(seconds)
            ready = runtime.descriptors.ready
            return [(fd, pycurl.CSELECT_IN if events & 1 else pycurl.CSELECT_OUT) for fd, events in ready.items()]

        seen.append(drive(multi, transfer, wait))

    scheduler.spawn(Process("one", CONFIG), run, "main")
    scheduler.run(60)
    return seen[0]


def serve(
    answer: bytes | None, *, reset: bool = False, delay: float = 0.0
) -> Callable[[Host, socket.socket, int], None]:
    def handle(one: Host, connection: socket.socket, number: int) -> None:
        one.read(connection)
        time.sleep(delay)
        if answer is None:
            time.sleep(3)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        elif answer:
            connection.sendall(answer)

    return handle


def plan(**values: Any) -> Callable[[Provider], None]:
    def behave(provider: Provider) -> None:
        provider.behave = lambda number: (Plan(**({"delay": 0.01} | values)), True)

    return behave


CASES = {
    "answer": (serve(OK), plan()),
    "late answer": (serve(OK, delay=0.3), plan(delay=0.3)),
    "503": (serve(OK.replace(b"200 OK", b"503 No")), plan(kind=ANSWERED, status=503)),
    "closed after the body": (serve(b""), plan(kind=CLOSED)),
    "reset after the body": (serve(b"", reset=True), plan(kind=RESET)),
    "cut": (serve(OK.replace(b"Length: 2", b"Length: 500")), plan(kind=CUT)),
    "silence": (serve(None), plan(kind=SILENT)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_request_that_is_written(monkeypatch: Any, case: str) -> None:
    real, fake = CASES[case]
    with host(real) as one:
        expected = over_libcurl(one.url)
    assert expected[1:2] + expected[3:] == (True, ["may write", "ended"])
    assert over_the_fake(monkeypatch, fake) == expected


def test_a_request_that_may_not_be_written(monkeypatch: Any) -> None:
    with host(serve(OK)) as one:
        expected = over_libcurl(one.url, may_write=False)
    seen = over_the_fake(monkeypatch, plan(), may_write=False)
    # The real libcurl has already sent the header, so only the result code and the callbacks are compared.
    assert (expected[0], expected[3]) == (seen[0], seen[3]) == (pycurl.E_ABORTED_BY_CALLBACK, ["may write", "ended"])


def test_no_connection(monkeypatch: Any) -> None:
    expected = over_libcurl(f"http://127.0.0.1:{free_port()}/")

    def refuse(provider: Provider) -> None:
        provider.refuses_connections = True

    assert over_the_fake(monkeypatch, refuse) == expected
    assert expected == (pycurl.E_COULDNT_CONNECT, False, 0, ["ended"])


def test_a_connection_that_is_not_answered(monkeypatch: Any) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        held = [socket.socket() for _ in range(3)]
        for one in held:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        expected = over_libcurl(f"http://127.0.0.1:{port}/")
        for one in held:
            one.close()

    def drop(provider: Provider) -> None:
        provider.drops_connections = True

    assert over_the_fake(monkeypatch, drop) == expected
    assert expected == (pycurl.E_OPERATION_TIMEDOUT, False, 0, ["ended"])
