"""One HTTP request to a provider: if it was written, on which connection, and which certificates are trusted."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import certifi
import pytest

from payments.providers import http
from payments.providers.http import NoResponse
from tests.conftest import free_port
from tests.raw_host import tls_host

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
TIMEOUTS = (1.0, 1.0)


class Gateway:
    """A TCP server that counts connections and requests.

    `replies` are sent one after the other. b"" closes the connection without a response.
    """

    def __init__(self) -> None:
        self.replies: list[bytes] = []
        self.connections = 0
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                self.requests.append(data)
                reply = self.replies.pop(0) if self.replies else OK
                if not reply:
                    return
                connection.sendall(reply)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    yield gateway
    gateway.close()


def post(url: str, **more: Any) -> tuple[int, bytes]:
    return http.post("The gateway", url, TIMEOUTS, {}, json={"amount": 1}, **more)


def get(url: str) -> tuple[int, bytes]:
    return http.get("The gateway", url, TIMEOUTS, {})


def test_every_request_asks_for_json(gateway: Gateway) -> None:
    get(gateway.url)
    post(gateway.url)
    assert [b"\r\naccept: application/json\r\n" in request.lower() for request in gateway.requests] == [True] * 2


def test_a_get_reuses_its_connection_and_a_post_never_does(gateway: Gateway) -> None:
    assert [get(gateway.url)[0] for _ in range(3)] == [200] * 3
    assert gateway.connections == 1
    assert [post(gateway.url)[0] for _ in range(3)] == [200] * 3
    assert gateway.connections == 4


def test_a_post_whose_connection_is_closed_is_written_once(gateway: Gateway) -> None:
    """By default, libcurl would repeat a request on a connection that the server has closed, and report success."""
    get(gateway.url)
    gateway.replies = [b""]
    with pytest.raises(NoResponse) as caught:
        post(gateway.url)
    assert caught.value.request_written
    assert sum(request.startswith(b"POST") for request in gateway.requests) == 1


def test_a_get_on_a_connection_that_the_server_has_closed_is_repeated(gateway: Gateway) -> None:
    assert get(gateway.url) == (200, b"{}")
    gateway.replies = [b""]
    assert get(gateway.url) == (200, b"{}")


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}", "timeout"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "timeout"),
        (b"", "connection closed without a response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n", "response too large"),
    ],
)
def test_no_complete_response(gateway: Gateway, reply: bytes, sentence: str) -> None:
    gateway.replies = [reply]
    with pytest.raises(NoResponse, match=sentence) as caught:
        post(gateway.url)
    assert caught.value.request_written


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://no-such-host.invalid/", "ftp://127.0.0.1/", "nonsense"])
def test_nothing_was_written(url: str) -> None:
    with pytest.raises(NoResponse, match="cannot be reached") as caught:
        post(url.replace(":1/", f":{free_port()}/"))
    assert not caught.value.request_written


def test_an_interim_response_is_skipped(gateway: Gateway) -> None:
    gateway.replies = [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK]
    assert post(gateway.url) == (200, b"{}")


def test_a_certificate_must_be_trusted_and_name_the_host(tmp_path: Path, monkeypatch: Any) -> None:
    with tls_host(tmp_path, "localhost") as host:
        with pytest.raises(NoResponse, match="certificate not trusted") as caught:
            post(host.url)
        assert not caught.value.request_written
        monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "certificate.pem"))
        assert post(host.url)[0] == 200
        with pytest.raises(NoResponse, match=r"certificate not trusted|TLS failed"):
            post(host.url.replace("localhost", "127.0.0.1"))
        assert len(host.asked) == 1


def test_the_timeout_covers_the_whole_response(gateway: Gateway) -> None:
    gateway.replies = [b"HTTP/1.1 200 OK\r\n"]
    started = time.monotonic()
    with pytest.raises(NoResponse):
        http.post("The gateway", gateway.url, (0.2, 0.3), {}, json={})
    assert time.monotonic() - started < 3
