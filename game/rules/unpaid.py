"""Stakes without money: anybody can type in any number, and each makes that phone ring or gets it a text."""

from datetime import timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils.translation import gettext_noop as _

from game import clock
from game.models import Entry, Player
from game.rules.addresses import buckets
from game.rules.refused import Refused
from payments.models import Payment

WINDOW = timedelta(hours=1)


def refuse_unpaid(player: Player, address: str) -> None:
    """Raises Refused (429) over a limit on unpaid stakes. The caller holds the player's lock."""
    recent = Entry.objects.filter(opened_at=None, created_at__gt=clock.now() - WINDOW).exclude(
        payment__status=Payment.Status.SUCCESS
    )
    if (wait := _wait(recent.filter(player=player), settings.UNPAID_STAKES_PER_PHONE_HOUR)) is not None:
        raise Refused(
            429,
            _("This number has too many unpaid stakes; try again in %(minutes)s minutes."),
            "phone_number",
            retry_after=wait,
            minutes=-(-wait // 60),
        )
    for rows, times in buckets(address):
        if (wait := _wait(recent.filter(rows), settings.UNPAID_STAKES_PER_ADDRESS_HOUR * times)) is not None:
            raise Refused(
                429,
                _("Too many unpaid stakes came from your network; try again in %(minutes)s minutes."),
                retry_after=wait,
                minutes=-(-wait // 60),
            )


def _wait(rows: "QuerySet[Entry]", limit: int) -> int | None:
    """Seconds until one fewer than `limit` is left; None where there is room."""
    # The one whose end makes room: the oldest of the newest `limit`.
    moments = rows.order_by("-created_at").values_list("created_at", flat=True)[max(0, limit - 1) : limit or 1]
    blocking = next(iter(moments), None)
    if blocking is None:
        return None if limit > 0 else int(WINDOW.total_seconds())
    return max(1, int((blocking + WINDOW - clock.now()).total_seconds()) + 1)
