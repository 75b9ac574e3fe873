"""The system checks: the conditions for each id, and a hint for each check."""

from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connection
from django.db.models import Model
from django.test import override_settings

from sms import owners

# Django's check of JSON fields queries the database.
pytestmark = pytest.mark.django_db

GOOD = {
    "DEBUG": False,
    "SMS_SERVICE_BASE_URL": "https://sms.example.com",
    "SMS_SERVICE_USERNAME": "u",
    "SMS_SERVICE_PASSWORD": "p",
    "SMS_DELIVERY": "worker",
    "SMS_DLR_ENABLED": True,
    "SITE_URL": "https://play.example.com",
    "CACHES": {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1"}},
}
LOCMEM = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}


def found(*, deploy: bool = True, **changes: Any) -> set[str]:
    with override_settings(**{**GOOD, **changes}):
        checks = run_checks(include_deployment_checks=deploy)
    ours = [check for check in checks if str(check.id).startswith("sms.")]
    assert all(check.hint for check in ours)
    return {str(check.id) for check in ours}


@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        ({}, set()),
        ({"SMS_SERVICE_PASSWORD": ""}, {"sms.E001"}),
        ({"SMS_SERVICE_BASE_URL": "", "SMS_SERVICE_USERNAME": ""}, {"sms.E001"}),
        ({"SMS_SERVICE_BASE_URL": "", "SMS_SERVICE_USERNAME": "", "SMS_SERVICE_PASSWORD": ""}, set()),
        ({"SMS_SERVICE_BASE_URL": "sms.example.com"}, {"sms.E002"}),
        ({"SMS_SERVICE_BASE_URL": "https://[::1"}, {"sms.E002"}),
        ({"SMS_SERVICE_BASE_URL": "https://sms.example.com/#"}, {"sms.E002"}),
        ({"SMS_SERVICE_BASE_URL": "https://u:p@sms.example.com?x=1"}, {"sms.E002"}),
        ({"SMS_REDACT": ["pt"]}, {"sms.E004"}),
        ({"SMS_REDACT": {"link": ["pt"]}}, {"sms.E004"}),
        ({"SMS_SERVICE_BASE_URL": "https://sms.example.com/v3"}, {"sms.W008"}),
        ({"SMS_SERVICE_BASE_URL": "http://sms.example.com"}, {"sms.W001"}),
        ({"SMS_SERVICE_BASE_URL": "http://127.0.0.1:8025"}, set()),
        ({"CACHES": LOCMEM}, {"sms.W002"}),
        ({"SMS_DELIVERY": "inline"}, {"sms.W003"}),
        ({"SMS_DELIVERY": "tasks"}, {"sms.W009"}),
        ({"SMS_DELIVERY": "tasks", "TASKS": {"default": {"BACKEND": "tests.sms.test_checks.Queue"}}}, set()),
        ({"SITE_URL": ""}, {"sms.W004"}),
        ({"ROOT_URLCONF": "game.urls"}, {"sms.W004"}),
        ({"SITE_URL": "", "SMS_DLR_ENABLED": False}, set()),
        ({"SITE_URL": "http://127.0.0.1:8000"}, {"sms.W005"}),
        ({"SITE_URL": "play.example.com"}, {"sms.W005"}),
        ({"SMS_READ_TIMEOUT": "abc"}, {"sms.E004"}),
        ({"SMS_DELIVERY": "pigeon"}, {"sms.E004"}),
        ({"DATABASE_ROUTERS": ["tests.sms.test_checks.Elsewhere"]}, {"sms.E005"}),
        ({"DATABASE_ROUTERS": ["tests.sms.test_checks.Nowhere"]}, {"sms.E005"}),
        ({"USE_TZ": False}, {"sms.E006"}),
    ],
)
def test_checks(changes: dict[str, Any], ids: set[str]) -> None:
    assert found(**changes) == ids


class Elsewhere:
    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        return "texts" if model._meta.app_label == "sms" else None


class Nowhere:
    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return False if app_label == "sms" else None


class Queue:
    """A task backend with the methods that Django's own check calls."""

    def __init__(self, alias: str, params: dict[str, Any]) -> None: ...

    def check(self) -> list[Any]:
        return []


@pytest.mark.parametrize(
    "changes",
    [
        {"CACHES": LOCMEM},
        {"SMS_DELIVERY": "inline"},
        {"SITE_URL": "http://127.0.0.1:8000"},
        {"SITE_URL": ""},
        {"SMS_SERVICE_BASE_URL": "http://sms.example.com"},
    ],
)
def test_production_checks_run_with_deploy_only(changes: dict[str, Any]) -> None:
    assert found(**changes)
    assert found(deploy=False, **changes) == set()


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({"transaction_mode": "immediate", "timeout": 5}, set()),
        ({"transaction_mode": "IMMEDIATE"}, set()),
        ({}, {"sms.W006"}),
        ({"transaction_mode": "DEFERRED", "timeout": 20}, {"sms.W006"}),
        ({"transaction_mode": "IMMEDIATE", "timeout": 1}, {"sms.W007"}),
    ],
)
def test_sqlite(monkeypatch: Any, options: dict[str, Any], ids: set[str]) -> None:
    monkeypatch.setattr(connection, "vendor", "sqlite")
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    assert found(deploy=False) == ids


def test_the_message_names_the_setting_and_what_it_may_be() -> None:
    with override_settings(**{**GOOD, "SMS_DELIVERY": "pigeon"}):
        (check,) = [check for check in run_checks() if check.id == "sms.E004"]
    assert str(check.msg).startswith("SMS_DELIVERY must be inline or worker")


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [(connection, "vendor", "mysql"), (connection.features, "can_return_columns_from_insert", False)],
)
def test_a_database_that_cannot_claim(monkeypatch: Any, owner: Any, name: str, value: object) -> None:
    monkeypatch.setattr(owner, name, value)
    assert found() == {"sms.E003"}


def test_half_set_credentials_name_the_missing_settings() -> None:
    with override_settings(**{**GOOD, "SMS_SERVICE_PASSWORD": ""}):
        (check,) = [check for check in run_checks() if check.id == "sms.E001"]
    assert "SMS_SERVICE_PASSWORD missing" in str(check.msg)


def test_a_kind_that_takes_two_sms_is_named(monkeypatch: Any) -> None:
    samples = [
        owners.Sample("short", "en", "x" * 160),
        owners.Sample("long", "lg", "x" * 161),
        owners.Sample("long", "lg", "x" * 400),
        owners.Sample("curly", "sw", "’" * 71),
    ]
    monkeypatch.setattr(owners, "_samplers", [lambda: samples])
    found = [check.msg for check in run_checks() if check.id == "sms.W010"]
    assert found == [
        "[long] in lg takes 3 SMS with the longest values: 400 characters of GSM-7, and one SMS holds 160.",
        "[curly] in sw takes 2 SMS with the longest values: 71 characters of UCS-2, and one SMS holds 70.",
    ]


def test_the_games_messages_are_sampled(settings: Any) -> None:
    """With a base URL of 61 characters, messages with a link take two SMS. The other messages take one."""
    settings.FRONTEND_URL = settings.SITE_URL = "https://" + "x" * 50 + ".ug"
    settings.MAX_STAKE_AMOUNT = 5_000_000
    kinds = {sample.kind for sample in owners.samples()}
    templates = (Path(__file__).parents[2] / "game/templates/game/sms").glob("*.txt")
    assert {template.stem for template in templates} == kinds
    found = {check.msg.split("]")[0] for check in run_checks() if check.id == "sms.W010"}
    assert found >= {"[private_invite", "[payment_success"}
    assert not found & {"[payment_failed", "[payment_held", "[refund_due", "[refunded"}
    assert {check.msg for check in run_checks() if check.id == "sms.W010" and "payment_success] in en" in check.msg}
