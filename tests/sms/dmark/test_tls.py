"""The texts of players and the credentials go only to a host that proves its name."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sms import conf
from sms.dmark import blocking
from sms.dmark.conversation import Lost, Request
from sms.errors import ProviderUnavailable
from tests.conftest import missing
from tests.raw_host import PATHS, RawHost, raw_host


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return tmp_path / "certificate.pem"


@pytest.fixture(params=["localhost"])
def host(request: Any, tmp_path: Path, certificate: Path, settings: Any) -> Iterator[RawHost]:
    """A provider whose certificate, which vouches for itself, is made out to the parameter."""
    if shutil.which("openssl") is None:
        missing("openssl")
    key = tmp_path / "key.pem"
    options = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={request.param}"
    options += f" -addext subjectAltName=DNS:{request.param} -keyout {key} -out {certificate}"
    subprocess.run(["openssl", *options.split()], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with raw_host(b'{"msg_id": "7"}', {}, context) as host:
        settings.SMS_SERVICE_BASE_URL = host.url
        settings.SMS_SERVICE_USERNAME, settings.SMS_SERVICE_PASSWORD = "u", "p"
        yield host


def send() -> str:
    return blocking.send("0772123456", "x", "", lambda exchange: None)


def trust(monkeypatch: Any, certificate: Path) -> None:
    monkeypatch.setattr(blocking._session(), "verify", str(certificate))


def test_a_certificate_that_nobody_vouches_for(host: RawHost) -> None:
    with pytest.raises(ProviderUnavailable, match="SSLCertVerificationError"):
        send()
    assert host.asked == []


def test_a_blank_before_the_address_trusts_nobody_either(host: RawHost) -> None:
    with pytest.raises(Lost, match="SSLCertVerificationError"):
        blocking.post(Request("send", f" {host.url}/v3/api/send_sms/", b"{}", ""), conf.current())
    assert host.asked == []


def test_without_the_trusted_certificates_it_is_tried_later(host: RawHost, monkeypatch: Any) -> None:
    monkeypatch.setattr(blocking._session(), "verify", "/nowhere/bundle.pem")
    with pytest.raises(ProviderUnavailable, match="OSError"):
        send()


def test_a_certificate_that_is_trusted(host: RawHost, certificate: Path, monkeypatch: Any) -> None:
    trust(monkeypatch, certificate)
    assert send() == "7"
    assert host.asked == PATHS


@pytest.mark.parametrize("host", ["other.example.com"], indirect=True)
def test_a_certificate_for_another_name(host: RawHost, certificate: Path, monkeypatch: Any) -> None:
    trust(monkeypatch, certificate)
    with pytest.raises(ProviderUnavailable, match="SSLCertVerificationError"):
        send()
    assert host.asked == []
