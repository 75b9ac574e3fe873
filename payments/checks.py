"""System checks of the payment settings."""

from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register

_SHORTEST_SECRET = 16


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
                f"A callback secret has fewer than {_SHORTEST_SECRET} characters: who guesses it pays with words.",
                hint='python -c "import secrets; print(secrets.token_urlsafe(32))" makes a good MOMO_CALLBACK_SECRET.',
                id="payments.W002",
            )
        )
    return found
