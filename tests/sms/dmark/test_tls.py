"""Over `requests`, messages and credentials are sent only to a host with a trusted certificate for its name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sms import conf
from sms.dmark import blocking
from sms.dmark.conversation import NoResponse, Request
from sms.errors import ProviderUnavailable
from tests.raw_host import PATHS, RawHost, tls_host


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return tmp_path / "certificate.pem"


@pytest.fixture(params=["localhost"])
def host(request: Any, tmp_path: Path, settings: Any) -> Iterator[RawHost]:
    """Run a provider with a self-signed certificate for the host name in the parameter."""
    with tls_host(tmp_path, request.param) as host:
        settings.SMS_SERVICE_BASE_URL = host.url
        settings.SMS_SERVICE_USERNAME, settings.SMS_SERVICE_PASSWORD = "u", "p"
        yield host


def send() -> str:
    return blocking.send("0772123456", "x", "", lambda exchange: None)


def trust(monkeypatch: Any, certificate: Path) -> None:
    monkeypatch.setattr(blocking._session(), "verify", str(certificate))


def test_a_self_signed_certificate(host: RawHost) -> None:
    with pytest.raises(ProviderUnavailable, match="SSLCertVerificationError"):
        send()
    assert host.asked == []


def test_a_blank_before_the_url_does_not_turn_verification_off(host: RawHost) -> None:
    with pytest.raises(NoResponse, match="SSLCertVerificationError"):
        blocking.post(Request("send", f" {host.url}/v3/api/send_sms/", b"{}", ""), conf.current())
    assert host.asked == []


def test_a_missing_certificate_bundle_is_a_temporary_error(host: RawHost, monkeypatch: Any) -> None:
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
