"""Guessing match codes: whoever gives too many wrong ones has to wait.

Counted in the database: it is there when a code is looked up, and every process sees the same.
"""

from datetime import timedelta

from django.conf import settings
from django.utils.translation import gettext_noop as _

from game import clock
from game.models import WrongCode
from game.rules.addresses import buckets, site_of
from game.rules.refused import Refused

WINDOW = timedelta(minutes=10)


def refuse_code_guessing(address: str) -> None:
    """Raises Refused (429) once this address has given too many wrong codes."""
    recent = WrongCode.objects.filter(at__gt=clock.now() - WINDOW)
    for rows, times in buckets(address):
        if recent.filter(rows).count() >= settings.WRONG_CODES_PER_ADDRESS * times:
            raise Refused(
                429,
                _("Too many wrong match codes came from your network; try again in 10 minutes."),
                "match_code",
                retry_after=int(WINDOW.total_seconds()),
            )


def count_wrong_code(address: str) -> None:
    WrongCode.objects.create(client_address=address or None, client_site=site_of(address))
