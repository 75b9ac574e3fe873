"""The API behind a real gunicorn: chunked bodies, connections, hostile requests, the access log."""

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gunicorn  # type: ignore[import-untyped]
import pytest
import requests

from tests import preloaded
from tests.conftest import free_port, wait_for
from tests.preloaded import Process
from tests.system import sqlite_database

ROOT = Path(__file__).parents[2]


def environment(**changes: str) -> dict[str, str]:
    """Return an environment as in production, without the test settings."""
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "playmatatu.settings", "SECRET_KEY": "x" * 60} | {
        "DEBUG": "false",
        "ALLOWED_HOSTS": "127.0.0.1,testserver",
        "MOMO_CALLBACK_SECRET": "a-secret",
        "MOMO_AUTO_APPROVE": "true",
        "REDIS_URL": "",
        "SMS_SERVICE_BASE_URL": "",
        **changes,
    }


@pytest.fixture(scope="module")
def log(tmp_path_factory: Any) -> Path:
    return Path(tmp_path_factory.mktemp("site")) / "log"


@pytest.fixture(scope="module")
def site(log: Path) -> Iterator[str]:
    """Gunicorn as in production, with its own database."""
    # With DEBUG, pages are rendered without collected static files.
    env = environment(DATABASE_URL=sqlite_database(log.with_name("db.sqlite3")), WEB_CONCURRENCY="1", DEBUG="true")
    port = free_port()
    with log.open("wb") as out:
        process = Process(["-m", "gunicorn", "-b", f"127.0.0.1:{port}"], env=env, stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.get(f"{url}/api/v1/config", timeout=2).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    try:
        wait_for(answers, 60)
        yield url
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("size", [70_000, 1_000_000, 5_000_000])
@pytest.mark.parametrize(("path", "code"), [("/api/v1/game/stake", 413), ("/api/v1/nothing", 404)])
def test_a_refused_body_does_not_end_the_connection(site: str, size: int, path: str, code: int) -> None:
    headers = {"Content-Type": "application/json"}
    with requests.Session() as session:
        for _ in range(3):
            answer = session.post(site + path, data=b"x" * size, headers=headers, timeout=10)
            assert answer.status_code == code
            assert answer.json()["error"]


def test_head_has_no_body_and_leaves_the_connection_in_order(site: str) -> None:
    with requests.Session() as session:
        for _ in range(3):
            head = session.head(f"{site}/api/v1/config", timeout=5)
            assert (head.status_code, head.content) == (200, b"")
            assert session.get(f"{site}/api/v1/config", timeout=5).json()["commission_flat"] == 0


def test_more_open_connections_than_threads_are_all_answered(site: str) -> None:
    """The site has 8 threads here. Each waits a moment for the next request on its connection."""
    host, port = site.removeprefix("http://").split(":")
    request = b"GET /api/v1/config HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with ExitStack() as opened:
        connections = [opened.enter_context(socket.create_connection((host, int(port)), 10)) for _ in range(30)]
        for pause in (0.0, 0.0, 0.05):
            time.sleep(pause)
            for connection in connections:
                connection.sendall(request)
            for connection in connections:
                _receive_configs(connection, 1)
        # Two requests that arrive together are both answered. Older versions of gunicorn keep the second one waiting.
        if gunicorn.version_info >= (27,):
            connections[0].sendall(request + request)
            _receive_configs(connections[0], 2)


@pytest.mark.skipif(gunicorn.version_info < (27,), reason="older versions answer requests that arrive together late")
def test_connections_with_more_requests_leave_threads_to_others(site: str) -> None:
    """The site has 8 threads here, and 8 connections have a thousand requests each."""
    host, port = site.removeprefix("http://").split(":")
    request = b"GET /api/v1/config HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    answered = [0] * 8

    def receive(number: int, connection: socket.socket) -> None:
        while part := connection.recv(65536):
            answered[number] += part.count(b"queue_expiry_minutes")

    with ThreadPoolExecutor(8) as threads, ExitStack() as opened:
        one, *busy = [opened.enter_context(socket.create_connection((host, int(port)), 30)) for _ in range(9)]
        for connection in (one, *busy):
            connection.sendall(request)
            _receive_configs(connection, 1)
        for number, connection in enumerate(busy):
            opened.callback(connection.shutdown, socket.SHUT_RDWR)
            connection.sendall(request * 1000)
            threads.submit(receive, number, connection)
        wait_for(lambda: min(answered) > 0)
        one.sendall(request)
        _receive_configs(one, 1)
        assert max(answered) < 500


def _receive_configs(connection: socket.socket, number: int) -> None:
    received = b""
    while received.count(b"queue_expiry_minutes") < number:
        part = connection.recv(65536)
        assert part, received
        received += part
    assert received.count(b" 200 OK") == number


def raw(site: str, request: bytes) -> bytes:
    """Send these bytes and return the whole response."""
    host, port = site.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_body_in_chunks_is_read(site: str) -> None:
    """django/daphne#476, bugsink/bugsink#9: without a Content-Length, Django reads an empty body."""
    answer = requests.post(
        f"{site}/api/v1/game/stake",
        data=iter([b'{"phone_number": "0772000001",', b'"stake_amount": 1000}']),
        headers={"Content-Type": "application/json"},
        timeout=5,
    )
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")
    form = {
        "data": iter([b"language=", b"lg&next=/"]),
        "headers": {"Content-Type": "application/x-www-form-urlencoded"},
    }
    with requests.Session() as browser:
        browser.get(f"{site}/", timeout=5)
        form["headers"]["X-CSRFToken"] = browser.cookies["csrftoken"]  # type: ignore[index]
        changed = browser.post(f"{site}/language", timeout=5, allow_redirects=False, **form)  # type: ignore[arg-type]
    assert (changed.status_code, changed.cookies.get("django_language")) == (302, "lg")


@pytest.mark.parametrize("path", ["/api/v1/game/stake", "/api/v1/momo/callback", "/sms/dlr/1.x/", "/"])
def test_a_long_body_in_chunks_is_refused(site: str, path: str) -> None:
    chunks = iter([b"x" * 60_000] * 10)
    answer = requests.post(f"{site}{path}", data=chunks, headers={"Content-Type": "application/json"}, timeout=10)
    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/api/v1/game/stake", "/sms/dlr/1.x/"])
@pytest.mark.parametrize("chunks", [b"zz\r\nabc\r\n0\r\n\r\n", b"3\r\nabcde\r\n0\r\n\r\n"])
def test_broken_chunks_are_answered_411(site: str, log: Path, path: str, chunks: bytes) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
    assert raw(site, head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunks).split()[1] == b"411"
    assert "Traceback" not in log.read_text()


def test_a_script_name_in_a_header_is_ignored(site: str) -> None:
    """A proxy may protect only /admin/. So /x/admin/ with the header `SCRIPT_NAME: /x` must not lead to the admin."""
    for name in ("SCRIPT_NAME", "Script-Name", "PATH_INFO"):
        head = f"GET /x/admin/ HTTP/1.1\r\nHost: 127.0.0.1\r\n{name}: /x\r\nConnection: close\r\n\r\n"
        assert raw(site, head.encode()).split()[1] in (b"404", b"400"), name


MULTIPART = b"Content-Type: multipart/form-data; boundary=x"
HOSTILE = [
    b"GET / HTTP/1.1\r\nHost: evil.example\r\n",
    b"GET / HTTP/1.1\r\nHost: a b\r\n",
    b"GET /api/v1/config HTTP/1.1\r\nHost: [::bad\r\n",
    b"GET / HTTP/1.0\r\n",
    b"GET /%ff%fe?%ff=%00 HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: sessionid=\xff\xfe; pm_queue=%\r\n",
    b"GET /static/../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    b"GET /static/%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    b"GET /admin/?next=//evil HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Language: " + b"x-" * 2000 + b"\r\n",
    b"BREW /api/v1/game/stake HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    *(
        b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\n%b\r\nContent-Length: 4\r\n" % (path, kind)
        for path in (b"/", b"/sms/dlr/1.x/", b"/admin/login/", b"/language", b"/api/v1/momo/callback", b"/join/stop")
        for kind in (
            MULTIPART,
            b"Content-Type: multipart/form-data",
            b"Content-Type: application/x-www-form-urlencoded; charset=no-such",
            b"Content-Type: application/json; charset=\xff",
        )
    ),
    b"POST /sms/dlr/1.x/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=" + b"\xe9\r\n"
    b"Content-Length: 4\r\n",
]


@pytest.mark.parametrize("request_head", HOSTILE)
def test_a_hostile_request_writes_one_line_and_no_traceback(site: str, log: Path, request_head: bytes) -> None:
    answer = raw(site, request_head + b"Connection: close\r\n\r\n" + b"a=%\xff")
    assert answer.startswith(b"HTTP/1."), answer
    assert not answer.split()[1].startswith(b"5"), answer
    assert "Traceback" not in log.read_text()


def test_the_access_log_has_no_query(site: str, log: Path) -> None:
    headers = {"Referer": f"{site}/admin/?q=0772 123 456&x=1", "User-Agent": "phone 0772123456"}
    requests.get(f"{site}/admin/login/?q=772123456", headers=headers, auth=("0772123456", "x"), timeout=5)
    wait_for(lambda: "GET /admin/login/" in log.read_text())
    line = next(line for line in log.read_text().splitlines() if "GET /admin/login/" in line)
    assert "/admin/login/?[hidden]" in line
    assert "123" not in line


def test_a_warning_about_an_unreadable_request_has_no_query(site: str, log: Path) -> None:
    for target in ("/g/x?pt=a-players-token", "/waiting/0772123456"):
        assert raw(site, f"GET {target}\r\n\r\n".encode()).split()[1] == b"400"
    wait_for(lambda: log.read_text().count("Invalid HTTP request line: ") == 2)
    assert "GET /g/x?[hidden]" in log.read_text()
    for secret in ("a-players-token", "0772123456"):
        assert secret not in log.read_text()


def test_health_is_down_without_a_database_and_only_then() -> None:
    program = (
        "import django; django.setup()\n"
        "from django.test import Client\n"
        "answer = Client().get('/api/v1/health')\n"
        "print(answer.status_code, answer.json()['status'], answer.json()['parts']['database'])\n"
    )
    for changes, expected in (
        ({"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none"}, "503 down down"),
        ({"DATABASE_URL": "sqlite://:memory:", "REDIS_URL": "redis://127.0.0.1:1/0"}, "200 degraded ok"),
    ):
        run = preloaded.run(["-c", program], env=environment(**changes))
        assert run.stdout.strip() == expected, run.stderr[-3000:]


def test_gunicorn_opens_no_control_socket(site: str, log: Path) -> None:
    """Under systemd and in the container the site may create no file, so the socket caused an error at each start."""
    assert "Control s" not in log.read_text()
