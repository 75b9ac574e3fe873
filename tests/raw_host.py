"""A provider with one fixed response, for faults that the sandbox does not simulate: TLS, compression, slow bytes."""

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sms.testing import serving
from tests.conftest import missing

PATHS = ["/api/get_token/", "/v3/api/send_sms/"]
TOKEN = b'{"access_token": "opaque"}'


@dataclass
class RawHost:
    """A running provider: its URL, and the paths and credentials of the requests that it received."""

    url: str
    asked: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)


@contextmanager
def raw_host(body: bytes, headers: Mapping[str, str], context: ssl.SSLContext | None = None) -> Iterator[RawHost]:
    """Run a provider on `localhost`. It responds to a token request with a token, and to other requests with `body`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            host.asked.append(self.path)
            host.authorizations.append(self.headers["Authorization"])
            answer, more = (TOKEN, {}) if self.path == PATHS[0] else (body, headers)
            self.send_response(200)
            for name, value in {**more, "Content-Length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    host = RawHost(f"{'https' if context else 'http'}://localhost:{server.server_port}")
    with serving(server):
        yield host


@contextmanager
def dripping_host(at_once: bytes, drop: bytes) -> Iterator[str]:
    """Run a provider and yield its URL. It responds to token requests.

    To other requests it sends `at_once`, and then `drop` every 0.1 s for 5 s.
    """
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == PATHS[0]:
                # The response announces that the connection is closed after it.
                said = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
                self.wfile.write(said % (len(TOKEN), TOKEN))
                return
            with suppress(OSError):  # The client may have closed the connection.
                self.wfile.write(at_once)
                for _ in range(50):
                    self.wfile.write(drop)
                    if over.wait(0.1):
                        return

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            over.set()


@contextmanager
def tls_host(folder: Path, name: str) -> Iterator[RawHost]:
    """Run a provider over TLS. Its self-signed certificate for `name` is stored as `certificate.pem` in `folder`."""
    if shutil.which("openssl") is None:
        missing("openssl")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    options = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name}"
    options += f" -addext subjectAltName=DNS:{name} -keyout {key} -out {certificate}"
    subprocess.run(["openssl", *options.split()], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with raw_host(b'{"msg_id": "7"}', {}, context) as host:
        yield host
