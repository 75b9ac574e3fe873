"""The system checks, by id; each with a hint."""

from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connection
from django.test import override_settings

GOOD = {
    "DEBUG": False,
    "SMS_SERVICE_BASE_URL": "https://sms.example.com",
    "SMS_SERVICE_USERNAME": "u",
    "SMS_SERVICE_PASSWORD": "p",
    "SMS_DELIVERY": "worker",
    "SMS_DLR_ENABLED": True,
    "SITE_URL": "https://play.example.com",
    "MOMO_CALLBACK_SECRET": "s",
    "CACHES": {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1"}},
}
LOCMEM = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}


def found(**changes: Any) -> set[str]:
    with override_settings(**{**GOOD, **changes}):
        checks = [check for check in run_checks() if str(check.id).startswith(("sms.", "payments."))]
    assert all(check.hint for check in checks)
    return {str(check.id) for check in checks}


@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        ({}, set()),
        ({"SMS_SERVICE_PASSWORD": ""}, {"sms.E001"}),
        ({"SMS_SERVICE_BASE_URL": "", "SMS_SERVICE_USERNAME": ""}, {"sms.E001"}),
        ({"SMS_SERVICE_BASE_URL": "", "SMS_SERVICE_USERNAME": "", "SMS_SERVICE_PASSWORD": ""}, set()),
        ({"SMS_SERVICE_BASE_URL": "sms.example.com"}, {"sms.E002"}),
        ({"SMS_SERVICE_BASE_URL": "https://[::1"}, {"sms.E002"}),
        ({"SMS_SERVICE_BASE_URL": "http://sms.example.com"}, {"sms.W001"}),
        ({"SMS_SERVICE_BASE_URL": "http://127.0.0.1:8025"}, set()),
        ({"CACHES": LOCMEM}, {"sms.W002"}),
        ({"SMS_DELIVERY": "inline"}, {"sms.W003"}),
        ({"SITE_URL": ""}, {"sms.W004"}),
        ({"ROOT_URLCONF": "game.urls"}, {"sms.W004"}),
        ({"SITE_URL": "", "SMS_DLR_ENABLED": False}, set()),
        ({"SITE_URL": "http://127.0.0.1:8000"}, {"sms.W005"}),
        ({"SITE_URL": "play.example.com"}, {"sms.W005"}),
        ({"MOMO_CALLBACK_SECRET": ""}, {"payments.E001"}),
        ({"DEBUG": True, "CACHES": LOCMEM, "SMS_DELIVERY": "inline", "SITE_URL": "http://127.0.0.1:8000"}, set()),
    ],
)
def test_checks(changes: dict[str, Any], ids: set[str]) -> None:
    assert found(**changes) == ids


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [(connection, "vendor", "mysql"), (connection.features, "can_return_columns_from_insert", False)],
)
def test_a_database_that_cannot_claim(monkeypatch: Any, owner: Any, name: str, value: object) -> None:
    monkeypatch.setattr(owner, name, value)
    assert found() == {"sms.E003"}


def test_half_set_credentials_name_what_is_missing() -> None:
    with override_settings(**{**GOOD, "SMS_SERVICE_PASSWORD": ""}):
        (check,) = [check for check in run_checks() if check.id == "sms.E001"]
    assert "SMS_SERVICE_PASSWORD missing" in str(check.msg)
