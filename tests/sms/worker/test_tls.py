"""Over libcurl, messages and token are sent only to a host with a trusted certificate for its name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest

from sms.dmark.conversation import NoResponse
from tests.raw_host import RawHost, tls_host
from tests.sms.worker.loop_host import Driver, once


@pytest.fixture(params=["localhost"])
def host(request: Any, tmp_path: Path) -> Iterator[RawHost]:
    with tls_host(tmp_path, request.param) as host:
        yield host


@pytest.fixture
def driver() -> Iterator[Driver]:
    """An engine with timeouts that are long enough for a busy machine."""
    driver = Driver(connect=5.0, read=5.0)
    yield driver
    assert driver.loop.quit(5)


def test_a_certificate_that_nobody_vouches_for(host: RawHost, driver: Driver) -> None:
    [lost] = driver.results(once(f"{host.url}/v3/api/send_sms/"))
    assert isinstance(lost, NoResponse)
    assert not lost.request_written
    assert "certificate" in lost.cause
    assert host.asked == []


def test_a_certificate_that_is_trusted(host: RawHost, driver: Driver, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "certificate.pem"))
    assert driver.results(once(f"{host.url}/v3/api/send_sms/")) == ['200 {"msg_id": "7"}']
    assert len(host.asked) == 1


@pytest.mark.parametrize("host", ["other.example.com"], indirect=True)
def test_a_certificate_for_another_name(host: RawHost, driver: Driver, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "certificate.pem"))
    [lost] = driver.results(once(f"{host.url}/v3/api/send_sms/"))
    assert isinstance(lost, NoResponse)
    assert not lost.request_written
    assert host.asked == []


def test_without_the_trusted_certificates_nothing_leaves(host: RawHost, driver: Driver, monkeypatch: Any) -> None:
    monkeypatch.setattr(certifi, "where", lambda: "/nowhere/bundle.pem")
    [lost] = driver.results(once(f"{host.url}/v3/api/send_sms/"))
    assert isinstance(lost, NoResponse)
    assert not lost.request_written
    assert host.asked == []
