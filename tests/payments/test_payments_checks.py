"""System checks of the payment settings."""

from typing import Any

import pytest
from django.core import checks

from payments.checks import collection, production


@pytest.fixture(autouse=True)
def collects(settings: Any) -> None:
    settings.DMARK_PAY_USERNAME, settings.DMARK_PAY_PASSWORD, settings.DMARK_PAY_ACCOUNT_CODE = "u", "p", "a"
    settings.MOMO_AUTO_APPROVE, settings.SMS_DELIVERY = False, "worker"
    settings.SITE_URL = "https://play.example.com"


def ids(found: list[checks.CheckMessage]) -> list[str]:
    return [str(each.id) for each in found]


def test_all_is_well() -> None:
    assert collection(None) == production(None) == []


@pytest.mark.parametrize("name", ["USERNAME", "PASSWORD", "ACCOUNT_CODE"])
def test_half_set_up(settings: Any, name: str) -> None:
    setattr(settings, f"DMARK_PAY_{name}", "")
    found = collection(None)
    assert ids(found) == ["payments.E002"]
    assert f"DMARK_PAY_{name} missing" in found[0].msg


@pytest.mark.parametrize("url", ["wallet.example.com", "ftp://wallet.example.com", "https://[x", "/x"])
def test_no_address(settings: Any, url: str) -> None:
    settings.DMARK_PAY_BASE_URL = url
    assert ids(collection(None)) == ["payments.E003"]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("DMARK_PAY_BASE_URL", "http://wallet.example.com", "payments.W003"),
        ("SITE_URL", "http://127.0.0.1:8000", "payments.W004"),
        ("SITE_URL", "", "payments.W004"),
        ("ROOT_URLCONF", "tests.urls_empty", "payments.W004"),
        ("SMS_DELIVERY", "inline", "payments.W005"),
        ("MOMO_AUTO_APPROVE", True, "payments.W001"),
    ],
)
def test_what_production_lacks(settings: Any, name: str, value: Any, code: str) -> None:
    setattr(settings, name, value)
    assert ids(production(None)) == [code]
    assert collection(None) == []


def test_without_collection_it_is_silent(settings: Any) -> None:
    settings.DMARK_PAY_USERNAME = settings.DMARK_PAY_PASSWORD = settings.DMARK_PAY_ACCOUNT_CODE = ""
    settings.SITE_URL = ""
    assert collection(None) == production(None) == []
