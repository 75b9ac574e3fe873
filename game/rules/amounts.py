"""What a stake may be, what its player pays, and what the winner gets. Whole UGX."""

from django.conf import settings
from django.utils.translation import gettext_noop as _

from game.rules.refused import Refused


def check_amount(stake_amount: int) -> None:
    """Raises Refused unless the stake is within the bounds."""
    if not settings.MIN_STAKE_AMOUNT <= stake_amount <= settings.MAX_STAKE_AMOUNT:
        raise Refused(
            400,
            _("The stake must be from %(least)s to %(most)s UGX."),
            "stake_amount",
            least=settings.MIN_STAKE_AMOUNT,
            most=settings.MAX_STAKE_AMOUNT,
        )


def payable(stake_amount: int) -> int:
    """What a player pays: the stake and the commission."""
    return stake_amount + int(settings.COMMISSION_FLAT)


def prize(stake_amount: int) -> int:
    """What the winner gets."""
    return 2 * stake_amount
