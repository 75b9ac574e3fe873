"""System checks of the payment settings."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


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
