"""Run deploy/nginx.conf in a real nginx: half-sent requests, floods, and foreign host names."""

import contextlib
import http.client
import http.server
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import free_port, missing, wait_for

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
HOST = "play.example.com"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
DEBIANS = Path("/etc/nginx/nginx.conf")


class Backend(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *arguments: object) -> None:
        pass


class Nginx:
    def __init__(self, folder: Path) -> None:
        self.folder, self.http, self.tls = folder, free_port(), free_port()
        self.certificate = folder / "cert.pem"

    def statuses(self, path: str, count: int) -> Counter[int]:
        """Send `count` requests over one connection. Return the number of responses by status."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        with contextlib.closing(http.client.HTTPConnection(HOST)) as client:
            plain = socket.create_connection(("127.0.0.1", self.tls), timeout=5)
            client.sock = context.wrap_socket(plain, server_hostname=HOST)
            found: Counter[int] = Counter()
            for _ in range(count):
                client.request("GET", path)
                answer = client.getresponse()
                answer.read()
                found[answer.status] += 1
        return found

    def get(self, port: int, host: str = HOST, timeout: float = 2.0) -> bytes:
        """Send one request for this host name and return the response. Raises ConnectionResetError if there is none."""
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=timeout))
            if port == self.tls:
                context = ssl.create_default_context(cafile=str(self.certificate))
                connection = stack.enter_context(context.wrap_socket(connection, server_hostname=host))
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """Run nginx with Debian's nginx.conf, changed as in docs/production.md, and the site's file, on free ports."""
    if NGINX is None or not DEBIANS.exists() or shutil.which("openssl") is None:
        missing("Debian's nginx, or openssl")
    assert NGINX
    folder = tmp_path_factory.mktemp("nginx")
    nginx = Nginx(folder)
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "2", "-subj", f"/CN={HOST}"),
            *("-addext", f"subjectAltName=DNS:{HOST}", "-keyout", folder / "key.pem", "-out", nginx.certificate),
        ],
        check=True,
        capture_output=True,
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site = (ROOT / "deploy" / "nginx.conf").read_text()
    for old, new in (
        ("127.0.0.1:8000", f"127.0.0.1:{server.server_port}"),
        ("/var/log/nginx/", f"{folder}/"),
        # The test's backend is slower than gunicorn, so the limits are lower.
        ("rate=200r/s", "rate=10r/s"),
        ("burst=400", "burst=40"),
        (f"/etc/letsencrypt/live/{HOST}/fullchain.pem", str(nginx.certificate)),
        (f"/etc/letsencrypt/live/{HOST}/privkey.pem", str(folder / "key.pem")),
    ):
        site = site.replace(old, new)
    site = re.sub(r"(?m)^ *listen \[::\].*\n", "", site)
    site = re.sub(r"listen 80\b", f"listen 127.0.0.1:{nginx.http}", site)
    site = re.sub(r"listen 443\b", f"listen 127.0.0.1:{nginx.tls}", site)
    (folder / "site.conf").write_text(site)
    main = folder / "nginx.conf"
    main.write_text(DEBIANS.read_text())
    (command,) = re.findall(r"(?m)^ *(sed -i '.*worker_connections.*') /etc/nginx/nginx.conf", _page())
    subprocess.run(f"{command} {main}", shell=True, check=True)
    text = main.read_text().replace("include /etc/nginx/sites-enabled/*;", f"include {folder}/site.conf;")
    text = text.replace("include /etc/nginx/modules-enabled/*.conf;", f"include {ROOT}/deploy/nginx-main.conf;")
    text = text.replace("/run/nginx.pid", f"{folder}/pid").replace("/var/log/nginx/", f"{folder}/")
    # The processes run as root, because other users cannot read pytest's folders.
    text = text.replace("user www-data;", "user root; daemon off;").replace(
        "worker_processes auto", "worker_processes 2"
    )
    main.write_text(text)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([NGINX, "-c", main, "-p", folder], stdout=log, stderr=log)
    try:
        wait_for(lambda: _answers(nginx), 10)
        yield nginx
    finally:
        process.terminate()
        process.wait(10)
        server.shutdown()
        server.server_close()


def _page() -> str:
    return (ROOT / "docs" / "production.md").read_text()


def _answers(nginx: Nginx) -> bool:
    with contextlib.suppress(OSError):
        return nginx.get(nginx.tls).startswith(b"HTTP/1.1 200")
    return False


def test_half_sent_requests_of_one_address_leave_the_site_alone(nginx: Nginx) -> None:
    """Open more connections than Debian's default allows (2 × 768), and send only part of the headers.

    `limit_conn` does not count such connections, because their headers have not arrived.
    """
    with contextlib.ExitStack() as stack:
        for _ in range(1600):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", nginx.http), timeout=5))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: play.example.com\r\nX-Slow: ")
        time.sleep(0.5)
        started = time.monotonic()
        assert nginx.get(nginx.tls).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - started < 2


def test_a_flood_from_one_address_is_limited_and_the_providers_reports_are_not(nginx: Nginx) -> None:
    with ThreadPoolExecutor(8) as threads:
        reports = sum(threads.map(lambda _: nginx.statuses("/sms/dlr/1.x/", 15), range(8)), Counter[int]())
        pages = sum(threads.map(lambda _: nginx.statuses("/", 15), range(8)), Counter[int]())
    assert reports == {200: 120}
    assert set(pages) == {200, 429}


def test_other_host_names_get_no_answer(nginx: Nginx) -> None:
    assert nginx.get(nginx.http).startswith(b"HTTP/1.1 301")
    with pytest.raises(ConnectionResetError):
        nginx.get(nginx.http, "203.0.113.7")
    with pytest.raises(ssl.SSLError, match=r"unrecognized name|UNRECOGNIZED_NAME"):
        nginx.get(nginx.tls, "other.example.com")
