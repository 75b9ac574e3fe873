"""System checks of the site, the game and the payments: id and hint of each, and none for correct settings."""

from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import override_settings

GOOD = {
    "DEBUG": False,
    "ALLOWED_HOSTS": ["play.example.com"],
    "FRONTEND_URL": "https://play.example.com",
    "MOMO_AUTO_APPROVE": False,
    "MOMO_CALLBACK_SECRET": "s" * 16,
    "MOMO_CALLBACK_SECRET_FALLBACKS": [],
}


def redis(url: Any) -> dict[str, Any]:
    return {"CACHES": {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}}}


def postgres(host: str, password: str, **options: str) -> dict[str, Any]:
    database = {"ENGINE": "playmatatu.postgres", "HOST": host, "PASSWORD": password, "OPTIONS": options}
    return {"DATABASES": {"default": database}}


def found(*, deploy: bool = True, **changes: Any) -> set[str]:
    with override_settings(**{**GOOD, **changes}):
        checks = run_checks(include_deployment_checks=deploy, tags=None)
    ours = [check for check in checks if str(check.id).startswith(("playmatatu.", "game.", "payments."))]
    assert all(check.hint for check in ours)
    return {str(check.id) for check in ours}


# Django warns if DATABASES is overridden. The test only reads the setting.
@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        ({}, set()),
        ({"ALLOWED_HOSTS": ["play.example.com", "*"]}, {"playmatatu.W001"}),
        ({"FRONTEND_URL": "http://127.0.0.1:8000"}, {"playmatatu.W002"}),
        ({"FRONTEND_URL": "https://localhost"}, {"playmatatu.W002"}),
        ({"FRONTEND_URL": "http://play.example.com"}, {"playmatatu.W002"}),
        (redis("redis://127.0.0.1:6379/0"), set()),
        (redis("redis://[::1]:6379/0"), set()),
        (redis("unix:///run/redis.sock"), set()),
        (redis("rediss://:secret@redis.example.com:6379/0"), set()),
        (redis("redis://:secret@redis.example.com:6379/0"), {"playmatatu.W003"}),
        (redis("rediss://redis.example.com:6379/0"), {"playmatatu.W003"}),
        (redis("redis://127.0.0.1:6379/0,redis://10.0.0.7:6379/0"), {"playmatatu.W003"}),
        (redis(["redis://127.0.0.1:6379/0", "redis://10.0.0.7:6379/0"]), {"playmatatu.W003"}),
        (postgres("", ""), set()),
        (postgres("/run/postgresql", ""), set()),
        (postgres("127.0.0.1", ""), set()),
        (postgres("db.example.com", "secret", sslmode="verify-full"), set()),
        (postgres("db.example.com", "secret"), {"playmatatu.W004"}),
        (postgres("db.example.com", "secret", sslmode="prefer"), {"playmatatu.W004"}),
        (postgres("db.example.com", "", sslmode="require"), {"playmatatu.W004"}),
        ({"DATABASE_STATEMENT_TIMEOUT": 0}, {"playmatatu.E001"}),
        ({"DATABASE_LOCK_TIMEOUT": -1}, {"playmatatu.E001"}),
        ({"MOMO_AUTO_APPROVE": True}, {"payments.W001"}),
        ({"MOMO_CALLBACK_SECRET": "s" * 15}, {"payments.W002"}),
        ({"MOMO_CALLBACK_SECRET_FALLBACKS": ["s" * 20, "short"]}, {"payments.W002"}),
        ({"MOMO_CALLBACK_SECRET": ""}, {"payments.E001"}),
        ({"COMMISSION_FLAT": -1}, {"game.E002"}),
        ({"INVITES_PER_RECIPIENT_DAY": -5}, {"game.E002"}),
        ({"INVITES_PER_RECIPIENT_DAY": 0}, set()),
        ({"QUEUE_EXPIRY_MINUTES": 0}, {"game.E002"}),
        ({"MIN_STAKE_AMOUNT": 0}, {"game.E002"}),
        ({"MIN_STAKE_AMOUNT": 2000, "MAX_STAKE_AMOUNT": 1999}, {"game.E002"}),
        ({"MAX_STAKE_AMOUNT": 2**30}, {"game.E002"}),
        ({"UNPAID_STAKES_PER_PHONE_HOUR": 301}, {"game.E002"}),
    ],
)
def test_checks(changes: dict[str, Any], ids: set[str]) -> None:
    assert found(**changes) == ids
    only_deploy = all(".W" in name for name in ids)
    assert found(deploy=False, **changes) == (set() if only_deploy else ids)


def test_what_is_wrong_is_named() -> None:
    with override_settings(**GOOD, MIN_STAKE_AMOUNT=2000, MAX_STAKE_AMOUNT=1999, COMMISSION_FLAT=-1):
        said = [str(check.msg) for check in run_checks() if check.id == "game.E002"]
    assert said == ["COMMISSION_FLAT is negative.", "MIN_STAKE_AMOUNT is above MAX_STAKE_AMOUNT."]
