"""The texts of players and the credentials go only to a host that proves its name."""

import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from sms import dmark
from sms.errors import ProviderUnavailable

ACCEPTED = b'{"access_token": "opaque", "msg_id": "7", "status_code": "200"}'


@dataclass
class Host:
    """A provider on `localhost` behind TLS, and the paths it was asked for."""

    url: str
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, Path]:
    made, bundle = trustme.CA(), tmp_path / "authority.pem"
    made.cert_pem.write_to_path(bundle)
    return made, bundle


@pytest.fixture(params=["localhost"])
def host(request: Any, authority: tuple[trustme.CA, Path], settings: Any) -> Iterator[Host]:
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
    authority[0].issue_cert(request.param).configure_cert(context)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    provider = Host(f"https://localhost:{server.server_port}")
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


def trust(host: Host, bundle: Path, *paths: str) -> None:
    for path in paths:
        pool: Any = dmark._endpoint(host.url + path)[0]
        pool.ca_certs = str(bundle)


def test_a_certificate_that_nobody_vouches_for(host: Host) -> None:
    with pytest.raises(ProviderUnavailable, match="SSLCertVerificationError"):
        send()
    assert host.asked == []


def test_a_certificate_of_a_known_authority(host: Host, authority: tuple[trustme.CA, Path]) -> None:
    trust(host, authority[1], "/api/get_token/", "/v3/api/send_sms/")
    assert send() == "7"
    assert host.asked == ["/api/get_token/", "/v3/api/send_sms/"]


@pytest.mark.parametrize("host", ["other.example.com"], indirect=True)
def test_a_certificate_for_another_name(host: Host, authority: tuple[trustme.CA, Path]) -> None:
    trust(host, authority[1], "/api/get_token/", "/v3/api/send_sms/")
    with pytest.raises(ProviderUnavailable, match="SSLCertVerificationError"):
        send()
    assert host.asked == []
