"""The texts of players and the credentials go only to a host that proves its name."""

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from sms import dmark
from sms.errors import ProviderUnavailable
from tests.conftest import missing

ACCEPTED = b'{"access_token": "opaque", "msg_id": "7", "status_code": "200"}'
PATHS = ["/api/get_token/", "/v3/api/send_sms/"]


@dataclass
class Host:
    """A provider on `localhost` behind TLS, and the paths it was asked for."""

    url: str
    certificate: Path
    asked: list[str] = field(default_factory=list)


@pytest.fixture(params=["localhost"])
def host(request: Any, tmp_path: Path, settings: Any) -> Iterator[Host]:
    """Its certificate, which vouches for itself, is made out to the parameter."""
    if shutil.which("openssl") is None:
        missing("openssl")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    options = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={request.param}"
    options += f" -addext subjectAltName=DNS:{request.param} -keyout {key} -out {certificate}"
    subprocess.run(["openssl", *options.split()], check=True, capture_output=True)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            provider.asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(ACCEPTED)))
            self.end_headers()
            self.wfile.write(ACCEPTED)

        def log_message(self, *arguments: Any) -> None: ...

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    provider = Host(f"https://localhost:{server.server_port}", certificate)
    settings.SMS_SERVICE_BASE_URL = provider.url
    settings.SMS_SERVICE_USERNAME, settings.SMS_SERVICE_PASSWORD = "u", "p"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield provider
    server.shutdown()
    server.server_close()
    thread.join()


def send() -> str:
    return dmark.send("0772123456", "x", "", lambda exchange: None)


def trust(host: Host) -> None:
    for path in PATHS:
        dmark._endpoint(host.url + path)[0].ca_certs = str(host.certificate)  # type: ignore[attr-defined]


def test_a_certificate_that_nobody_vouches_for(host: Host) -> None:
    with pytest.raises(ProviderUnavailable, match="SSLCertVerificationError"):
        send()
    assert host.asked == []


def test_a_certificate_of_a_trusted_authority(host: Host) -> None:
    trust(host)
    assert send() == "7"
    assert host.asked == PATHS


@pytest.mark.parametrize("host", ["other.example.com"], indirect=True)
def test_a_certificate_for_another_name(host: Host) -> None:
    trust(host)
    with pytest.raises(ProviderUnavailable, match="SSLCertVerificationError"):
        send()
    assert host.asked == []
