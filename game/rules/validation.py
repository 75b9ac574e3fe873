"""Values that players type: amounts and display names. All amounts are whole UGX."""

import unicodedata

from django.conf import settings
from django.utils.translation import gettext_noop as _

from game.rules.refused import Refused

MAX_NAME = 50


def check_amount(stake_amount: int) -> None:
    """Raise Refused (400) unless the stake is from MIN_STAKE_AMOUNT to MAX_STAKE_AMOUNT."""
    if not settings.MIN_STAKE_AMOUNT <= stake_amount <= settings.MAX_STAKE_AMOUNT:
        raise Refused(
            400,
            _("The stake must be from %(least)s to %(most)s UGX."),
            "stake_amount",
            least=settings.MIN_STAKE_AMOUNT,
            most=settings.MAX_STAKE_AMOUNT,
        )


def payable(stake_amount: int) -> int:
    """Return the stake plus the commission."""
    return stake_amount + int(settings.COMMISSION_FLAT)


def prize(stake_amount: int) -> int:
    return 2 * stake_amount


def has_control(text: str) -> bool:
    """Return True if the text holds NUL, another control character or a lone surrogate."""
    return any(unicodedata.category(char) in ("Cc", "Cs") for char in text)
