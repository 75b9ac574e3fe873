"""'Text me my link': a player's way back to an open stake. Anybody can type in any number, so it is limited.

Over the address's limit is told; what is known of a number, and its own limit, never is.
"""

from datetime import timedelta

from django.conf import settings
from django.utils.translation import gettext_noop as _

from game import clock
from game.models import Entry, LinkRequest
from game.rules.addresses import buckets, site_of
from game.rules.refused import Refused

WINDOW = timedelta(hours=1)


def count_request(address: str) -> None:
    """Raises Refused (429) once this address has asked too often. Whatever the number was, the work is the same."""
    since = clock.now() - WINDOW
    LinkRequest.objects.filter(at__lte=since).delete()
    for rows, times in buckets(address):
        if LinkRequest.objects.filter(rows, at__gt=since).count() >= settings.LINKS_PER_ADDRESS_HOUR * times:
            raise Refused(
                429,
                _("Too many links were asked for from your network; try again in an hour."),
                "phone_number",
                retry_after=int(WINDOW.total_seconds()),
            )
    LinkRequest.objects.create(client_address=address or None, client_site=site_of(address))


def live_entry(phone: str) -> Entry | None:
    """The newest stake of a phone that is still on its way."""
    newest = Entry.objects.filter(player__phone=phone).exclude(status=Entry.Status.EXPIRED)
    found = newest.select_related("player", "session", "payment").order_by("-pk").first()
    return found if found is not None and found.is_live else None
