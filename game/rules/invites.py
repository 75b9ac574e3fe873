"""Invites go to numbers that anybody can type in, so there are limits: by inviter, by recipient, by address.

They are asked twice: when the match is ordered, so that its creator knows, and when the invite leaves, which may be
long after and among many.
"""

from datetime import timedelta

from django.conf import settings
from django.utils.translation import gettext_noop as _

from game import clock
from game.models import Entry
from game.rules.addresses import buckets
from game.rules.locks import lock_recipient

# Why an invite may not leave, by the limit that it would pass.
INVITE_REFUSALS = {
    "inviter": _("You have sent as many invites as one player may send in a day; share the code yourself."),
    "recipient": _("This number has had as many invites as one may get in a day; share the code yourself."),
    "address": _("Too many invites came from your network in the last hour; share the code yourself."),
}


def order_invite(entry: Entry, invite_phone: str) -> None:
    """Note on an entry that is not yet saved whom to invite, or which limit forbids it."""
    entry.invite_refused = _refusal(entry, invite_phone)
    entry.invite_phone = "" if entry.invite_refused else invite_phone


def admit_invite(entry: Entry) -> None:
    """The invite of an entry that opens now may leave, or is struck off. The caller saves the entry."""
    if entry.invite_phone:
        lock_recipient(entry.invite_phone)
        order_invite(entry, entry.invite_phone)


def _refusal(entry: Entry, invite_phone: str) -> str:
    """Which limit keeps this invite from leaving, a key of INVITE_REFUSALS; "" when it may leave."""
    now = clock.now()
    day, hour = now - timedelta(days=1), now - timedelta(hours=1)
    # Only invites that left: an unpaid stake must not use up what a stranger may receive.
    left = Entry.objects.exclude(invite_phone="").exclude(pk=entry.pk)
    today = left.filter(opened_at__gt=day)
    if today.filter(player_id=entry.player_id).count() >= settings.INVITES_PER_INVITER_DAY:
        return "inviter"
    if today.filter(invite_phone=invite_phone).count() >= settings.INVITES_PER_RECIPIENT_DAY:
        return "recipient"
    this_hour = left.filter(opened_at__gt=hour)
    for rows, times in buckets(entry.client_address or ""):
        if this_hour.filter(rows).count() >= settings.INVITES_PER_ADDRESS_HOUR * times:
            return "address"
    return ""
