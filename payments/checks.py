"""System checks of the payment settings."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register

from payments import worker
from payments.collection import notice_url
from payments.providers.dmarkpay import client as dmarkpay

_SHORTEST_SECRET = 16
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@register
def callback_secret(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG or settings.MOMO_CALLBACK_SECRET:
        return []
    return [
        Error(
            "MOMO_CALLBACK_SECRET is empty, so every payment callback is refused.",
            hint="Set it to the secret shared with the mobile-money provider.",
            id="payments.E001",
        )
    ]


@register
def collection(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    config = dmarkpay.config()
    given = {
        "DMARK_PAY_USERNAME": config.username,
        "DMARK_PAY_PASSWORD": config.password,
        "DMARK_PAY_ACCOUNT_CODE": config.account,
    }
    missing = [name for name, value in given.items() if not value]
    found: list[CheckMessage] = []
    if 0 < len(missing) < len(given):
        found.append(
            Error(
                f"Collection is only half set up, so nobody is asked for money: {' and '.join(missing)} missing.",
                hint="Set all three of DMARK_PAY_USERNAME, DMARK_PAY_PASSWORD and DMARK_PAY_ACCOUNT_CODE, or none.",
                id="payments.E002",
            )
        )
    if config.enabled and (not _host(config.base_url) or urlsplit(config.base_url).scheme not in ("http", "https")):
        found.append(
            Error(
                "DMARK_PAY_BASE_URL is not a valid URL.",
                hint="Write it like https://wallet.example.com.",
                id="payments.E003",
            )
        )
    return found


def _collection_in_production() -> Iterator[CheckMessage]:
    config = dmarkpay.config()
    if not config.enabled:
        return
    if _host(config.base_url) not in ("", *_LOOPBACK) and urlsplit(config.base_url).scheme == "http":
        yield checks.Warning(
            "DMARK_PAY_BASE_URL is plain HTTP: the password, and who pays how much, can be read on the way.",
            hint="Use https://.",
            id="payments.W003",
        )
    address = notice_url(1)
    if _host(address) in ("", *_LOOPBACK):
        yield checks.Warning(
            "DMarkPay gets no URL that it can reach, so the status of a payment is found only by polling.",
            hint="Set SITE_URL to this service's public address, and include payments.webhooks in the URLconf.",
            id="payments.W004",
        )
    if worker.inline():
        yield checks.Warning(
            "Payment requests are sent during the player's web request, and nothing is retried later.",
            hint="Set SMS_DELIVERY to worker, and run manage.py game_worker.",
            id="payments.W005",
        )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


@register(deploy=True)
def production(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.MOMO_AUTO_APPROVE:
        found.append(
            checks.Warning(
                "MOMO_AUTO_APPROVE is on: every stake counts as paid, and nobody is asked for money.",
                hint="Set it to false.",
                id="payments.W001",
            )
        )
    secrets = [settings.MOMO_CALLBACK_SECRET, *settings.MOMO_CALLBACK_SECRET_FALLBACKS]
    if any(0 < len(secret) < _SHORTEST_SECRET for secret in secrets):
        found.append(
            checks.Warning(
                f"A callback secret has fewer than {_SHORTEST_SECRET} characters: "
                "anyone who guesses it can fake a payment.",
                hint='python -c "import secrets; print(secrets.token_urlsafe(32))" makes a good MOMO_CALLBACK_SECRET.',
                id="payments.W002",
            )
        )
    return [*found, *_collection_in_production()]
