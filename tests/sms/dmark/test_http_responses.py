"""Unusual HTTP responses over a raw socket. Both drivers must interpret them in the same way."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from sms import conf
from sms.dmark import blocking, conversation, responses
from sms.dmark.exchange import Exchange
from sms.errors import InDoubt, NotDmarks, ProviderError, ProviderRejected, ProviderUnavailable
from tests.loop_driver import over_loop

OK = b'{"msg_id": 7}'
HEAD = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 13\r\n"
TOKEN = b'HTTP/1.1 200 OK\r\nContent-Length: 26\r\nConnection: close\r\n\r\n{"access_token": "opaque"}'


@contextmanager
def raw_server(response: bytes) -> Iterator[str]:
    """Run a server that sends a token, and `response` to a send request.

    The server closes each connection after one response.
    """
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                data = b""
                while b"\r\n\r\n" not in data:
                    data += connection.recv(65536)
                head, _, body = data.partition(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                while len(body) < length:
                    body += connection.recv(65536)
                connection.sendall(TOKEN if b"/get_token/" in head else response)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(2)
                while connection.recv(65536):
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


@pytest.fixture(params=["blocking", "loop"])
def driver(request: Any, settings: Any) -> Any:
    """Return a function that sends one message to a raw server. The function returns DMark's id, or the error."""

    def send(response: bytes) -> Any:
        with raw_server(response) as url:
            settings.SMS_SERVICE_BASE_URL = url
            settings.SMS_SERVICE_USERNAME, settings.SMS_SERVICE_PASSWORD = "u", "p"
            settings.SMS_CONNECT_TIMEOUT, settings.SMS_READ_TIMEOUT = 0.5, 0.7
            exchanges: list[Exchange] = []
            config = conf.current()
            if request.param == "loop":
                return over_loop(config, exchanges)
            running = conversation.send(config, "0772123456", "hello", "", exchanges.append)
            try:
                return blocking.run(running, config, exchanges.append)
            except ProviderError as error:
                return error

    return send


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        pytest.param(HEAD + LENGTH + b"\r\n" + OK, "7", id="plain"),
        pytest.param(HEAD + LENGTH + LENGTH + b"\r\n" + OK, "7", id="the same length twice"),
        pytest.param(HEAD + LENGTH + b"Content-Length: 12\r\n\r\n" + OK, InDoubt, id="two lengths"),
        pytest.param(HEAD + b"Content-Length: 12\r\n" + LENGTH + b"\r\n" + OK, InDoubt, id="two lengths, reversed"),
        pytest.param(HEAD + b"content-length: 5\r\nX-A: b\r\n" + LENGTH + b"\r\n" + OK, InDoubt, id="apart"),
        pytest.param(HEAD + b"Content-Length: 40\r\n\r\n" + OK, InDoubt, id="truncated"),
        pytest.param(HEAD + b"\r\n" + OK, "7", id="without a length, closed"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\n" + OK, "7", id="HTTP/1.0"),
        pytest.param(b"HTTP/1.1 200\r\n" + LENGTH + b"\r\n" + OK, "7", id="without a reason"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nd\r\n" + OK + b"\r\n0\r\n\r\n", "7", id="chunked"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nd\r\n" + OK, InDoubt, id="chunked, truncated"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HEAD + LENGTH + b"\r\n" + OK, "7", id="103"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + LENGTH + b"\r\n" + OK, "7", id="100"),
        pytest.param(
            b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + HEAD + LENGTH + b"\r\n" + OK,
            "7",
            id="102 and 103",
        ),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n", InDoubt, id="only 103"),
        pytest.param(b"nonsense\r\n\r\n", InDoubt, id="no HTTP"),
        pytest.param(b"", InDoubt, id="nothing"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", NotDmarks, id="204"),
        pytest.param(
            b"HTTP/1.1 400 Bad\r\n" + LENGTH + b"Content-Length: 12\r\n\r\n" + OK, InDoubt, id="400, two lengths"
        ),
        pytest.param(b"HTTP/1.1 400 Bad\r\n" + LENGTH + b"\r\n" + OK, ProviderRejected, id="400"),
    ],
)
def test_both_drivers_read_alike(driver: Any, response: bytes, expected: Any) -> None:
    result = driver(response)
    assert result == expected if isinstance(expected, str) else type(result) is expected, result
    assert "SMS_SERVICE_BASE_URL" not in str(result)


@pytest.mark.parametrize("offset", [300, -300, None])
def test_retry_after(driver: Any, offset: int | None) -> None:
    header = b"30" if offset is None else formatdate(time() + offset, usegmt=True).encode()
    result = driver(b"HTTP/1.1 429 Too Many\r\nRetry-After: " + header + b"\r\nContent-Length: 2\r\n\r\n{}")
    assert isinstance(result, ProviderUnavailable)
    # A date in the past means no wait. The immediate retries take less than 15 s.
    assert (result.retry_after or 0.0) == pytest.approx(max(offset or 30, 0), abs=15 if offset else 0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("12", 12.0),
        (" 3 ", 3.0),
        ("-3", None),
        ("1.5", None),
        ("9" * 40, 86400.0),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 32 Jan 1970 00:20:00 GMT", None),
        ("١٢", None),
    ],
)
def test_retry_after_in_both_forms(header: str | None, seconds: float | None) -> None:
    assert responses.retry_after_seconds(header, 1000.0) == seconds
