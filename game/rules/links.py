"""'Text me my link': a player's way back to an open stake. Anybody can type in any number, so it is limited.

Over the address's limit is told; what is known of a number, and its own limit, never is.
"""

from datetime import timedelta

from django.conf import settings
from django.utils.translation import gettext_noop as _

from game import clock
from game.models import Entry, LinkRequest
from game.money import due_back
from game.rules.addresses import buckets, site_of
from game.rules.refused import Refused

WINDOW = timedelta(hours=1)
# So many stakes back money is looked for that is due back.
_LOOK_BACK = 10


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


def entry_to_find(phone: str) -> Entry | None:
    """The stake of a phone that is still on its way, else the newest whose money is due back."""
    newest = Entry.objects.filter(player__phone=phone).select_related("player", "session", "payment").order_by("-pk")
    for found in newest.exclude(status=Entry.Status.EXPIRED)[:2]:
        if found.is_live:
            return found
    return next((entry for entry in newest[:_LOOK_BACK] if due_back(entry)), None)
