"""System checks of the game's settings."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from game.rules.validation import payable, prize

# Settings that must not be negative. The value 0 is allowed.
_LIMITS = (
    "COMMISSION_FLAT INVITES_PER_INVITER_DAY INVITES_PER_RECIPIENT_DAY INVITES_PER_ADDRESS_HOUR "
    "WRONG_CODES_PER_ADDRESS LINKS_PER_PHONE_HOUR LINKS_PER_ADDRESS_HOUR UNPAID_STAKES_PER_PHONE_HOUR "
    "UNPAID_STAKES_PER_ADDRESS_HOUR FAILED_TEXTS_PER_PHONE_DAY MIN_AGE"
).split()
# The largest amount that an integer column can store on every supported database.
_MOST_UGX = 2**31 - 1
# Pairs of settings. The first setting of a pair must not be greater than the second.
_PAIRS = (
    ("MIN_STAKE_AMOUNT", "MAX_STAKE_AMOUNT"),
    ("LINKS_PER_PHONE_HOUR", "LINKS_PER_ADDRESS_HOUR"),
    ("UNPAID_STAKES_PER_PHONE_HOUR", "UNPAID_STAKES_PER_ADDRESS_HOUR"),
)


@register
def game_url(app_configs: Any, **kwargs: Any) -> Iterator[CheckMessage]:
    address = settings.GAME_URL
    leads = urlsplit(address).scheme in ("http", "https") and all(name in address for name in ("{token}", "{pt}"))
    if address and not leads:
        yield Error(
            "GAME_URL does not lead players to their match.",
            hint="It needs a scheme, {token} and {pt}: https://cards.example.com/g/{token}?pt={pt}",
            id="game.E001",
        )


@register
def limits(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    wrong = [f"{name} is negative" for name in _LIMITS if getattr(settings, name) < 0]
    wrong += [
        f"{name} must be more than 0"
        for name in ("MIN_STAKE_AMOUNT", "QUEUE_EXPIRY_MINUTES")
        if getattr(settings, name) <= 0
    ]
    if payable(settings.MAX_STAKE_AMOUNT) > _MOST_UGX or prize(settings.MAX_STAKE_AMOUNT) > _MOST_UGX:
        wrong.append("MAX_STAKE_AMOUNT is more than the database can hold")
    wrong += [f"{low} is above {high}" for low, high in _PAIRS if getattr(settings, low) > getattr(settings, high)]
    hint = "Correct it or leave it out. The defaults in .env.example fit together."
    return [Error(f"{what}.", hint=hint, id="game.E002") for what in wrong]
