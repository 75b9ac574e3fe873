"""Limits on what anybody can do to a stranger's number, or guess: invites, unpaid stakes, match codes, link requests.

A limit counts rows of the database, so all processes count the same. Most limits count by client address: by the
address itself and, for IPv6, by its /48 with SITE_FACTOR times the limit.
"""

import ipaddress
import logging
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, IntegerField, Q, QuerySet, Subquery, Value
from django.http import HttpRequest
from django.utils.translation import gettext_noop as _

from game import clock
from game.models import Entry, LinkRequest, Player, RefusedStake, WrongCode
from game.rules.locks import lock_recipient
from game.rules.refused import Refused
from payments.models import Payment

logger = logging.getLogger("game.limits")

CODES_WINDOW = timedelta(minutes=10)
# For stakes and link requests.
WINDOW = timedelta(hours=1)
# A /48 belongs to a company or a hosting provider, not to one subscriber.
SITE_FACTOR = 10

# The limits that can keep an invite from being sent, and the sentence for its creator.
INVITE_REFUSALS = {
    "inviter": _("You have reached today's limit of invites. Share the code yourself."),
    "recipient": _("This number has reached today's limit of invites. Share the code yourself."),
    "address": _("Too many invites were sent from your network in the last hour. Share the code yourself."),
}


# --- client addresses

_WITH_PORT = re.compile(r"\[([^]]*)\](?::\d+)?|([\d.]+):\d+")


def client_address(request: HttpRequest) -> str:
    """Return the client's address as seen by the outermost of TRUSTED_PROXY_COUNT proxies, or "" if it is unreadable.

    An IPv6 address is cut to its first 64 bits, because a subscriber may use any of the rest.
    """
    count = settings.TRUSTED_PROXY_COUNT
    hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
    seen = hops[-count] if count > 0 and len(hops) >= count else str(request.META.get("REMOTE_ADDR", ""))
    # Some proxies append a port: 192.0.2.1:5678 or [2001:db8::1]:5678.
    if match := _WITH_PORT.fullmatch(seen):
        seen = match[1] or match[2]
    try:
        address = ipaddress.ip_address(seen.partition("%")[0])
    except ValueError:
        # All unreadable addresses share one limit.
        logger.warning(
            "game.no_address: a client's address cannot be read; TRUSTED_PROXY_COUNT is %s",
            count,
            extra={"event": "game.no_address"},
        )
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return _network(address, 64)


def site_of(address: str) -> str | None:
    """Return the /48 of an IPv6 address of `client_address`, None for other addresses."""
    parsed = ipaddress.ip_address(address) if address else None
    return _network(parsed, 48) if isinstance(parsed, ipaddress.IPv6Address) else None


def _buckets(address: str) -> list[tuple[Q, int]]:
    """Return (condition, factor) pairs: the rows counted against this address, and the factor on their limit."""
    buckets = [(Q(client_address=address or None), 1)]
    if site := site_of(address):
        buckets.append((Q(client_site=site), SITE_FACTOR))
    return buckets


def _network(address: ipaddress.IPv6Address, bits: int) -> str:
    return str(ipaddress.ip_network((address, bits), strict=False).network_address)


# --- match codes


def refuse_code_guessing(address: str) -> None:
    """Raise Refused (429) if this address gave too many wrong codes in the last 10 minutes."""
    recent = WrongCode.objects.filter(at__gt=clock.now() - CODES_WINDOW)
    for rows, factor in _buckets(address):
        if recent.filter(rows).count() >= settings.WRONG_CODES_PER_ADDRESS * factor:
            raise Refused(
                429,
                _("Too many wrong match codes came from your network. Try again in 10 minutes."),
                "match_code",
                retry_after=int(CODES_WINDOW.total_seconds()),
            )


def count_wrong_code(address: str) -> None:
    WrongCode.objects.create(client_address=address or None, client_site=site_of(address))


# --- stakes without money: each makes a phone show a payment prompt, and anybody can type in any number


def refuse_stakes_from(address: str) -> None:
    """Raise Refused (429) if too many stakes without money came from this address in the last hour.

    Counted are unpaid stakes, and stakes that were refused because of what the number has already: without a limit
    these refusals would tell which numbers have a stake.
    """
    since = clock.now() - WINDOW
    refused = RefusedStake.objects.filter(at__gt=since)
    for rows, factor in _buckets(address):
        unpaid = Entry.objects.filter(rows, opened_at=None, created_at__gt=since)
        moments = unpaid.exclude(payment__status=Payment.Status.SUCCESS).values_list("created_at").order_by()
        moments = moments.union(refused.filter(rows).values_list("at").order_by(), all=True).order_by("-created_at")
        if (wait := _wait(moments, settings.UNPAID_STAKES_PER_ADDRESS_HOUR * factor)) is not None:
            raise Refused(
                429,
                _("Too many unpaid stakes came from your network. Try again in %(minutes)s minutes."),
                retry_after=wait,
                minutes=-(-wait // 60),
            )


def refuse_unpaid(entries: Sequence[Entry]) -> None:
    """Raise Refused (429) if a player left too many stakes unpaid.

    `entries`: at least the player's entries of the last hour that were never active, each with its payment.
    """
    since = clock.now() - WINDOW
    unpaid = sorted(
        entry.created_at
        for entry in entries
        if entry.opened_at is None and entry.created_at > since and entry.payment.status != Payment.Status.SUCCESS
    )
    moments = [(moment,) for moment in reversed(unpaid)]
    if (wait := _wait(moments, settings.UNPAID_STAKES_PER_PHONE_HOUR)) is not None:
        raise Refused(
            429,
            _("This number has too many unpaid stakes. Try again in %(minutes)s minutes."),
            "phone_number",
            retry_after=wait,
            minutes=-(-wait // 60),
        )


def count_refused_stake(address: str) -> None:
    RefusedStake.objects.create(client_address=address or None, client_site=site_of(address))


def _wait(moments: "QuerySet[Entry, tuple[datetime]] | list[tuple[datetime]]", limit: int) -> int | None:
    """Return the seconds until fewer than `limit` moments are left in the window, or None if that is so now.

    `moments`: newest first.
    """
    if limit <= 0:
        return int(WINDOW.total_seconds())
    # The end of this one makes room: the oldest of the newest `limit`.
    blocking = next(iter(moments[limit - 1 : limit]), None)
    if blocking is None:
        return None
    return max(1, int((blocking[0] + WINDOW - clock.now()).total_seconds()) + 1)


# --- invites: checked when the match is ordered, so that its creator knows, and again when the invite is sent


def order_invite(entry: Entry, invite_phone: str) -> None:
    """Set on an unsaved entry the number to invite, or the limit that forbids it."""
    entry.invite_refused = _invite_refusal(entry, invite_phone)
    entry.invite_phone = "" if entry.invite_refused else invite_phone


def admit_invite(entry: Entry) -> None:
    """Check the invite of an entry that is being activated again, under the recipient's lock. The caller saves."""
    if entry.invite_phone:
        lock_recipient(entry.invite_phone)
        order_invite(entry, entry.invite_phone)


def _invite_refusal(entry: Entry, invite_phone: str) -> str:
    """Return the key of INVITE_REFUSALS for the limit that forbids this invite, "" if none does."""
    now = clock.now()
    # Only invites that were sent: an unpaid stake must not use up a stranger's limit.
    sent = Entry.objects.exclude(invite_phone="").exclude(pk=entry.pk)
    today, this_hour = sent.filter(opened_at__gt=now - timedelta(days=1)), sent.filter(opened_at__gt=now - WINDOW)
    limits = [
        ("inviter", today.filter(player_id=entry.player_id), settings.INVITES_PER_INVITER_DAY),
        ("recipient", today.filter(invite_phone=invite_phone), settings.INVITES_PER_RECIPIENT_DAY),
    ]
    for rows, factor in _buckets(entry.client_address or ""):
        limits.append(("address", this_hour.filter(rows), settings.INVITES_PER_ADDRESS_HOUR * factor))
    # All counts in one statement, each a subquery that an index answers.
    counts = Player.objects.filter(pk=entry.player_id).values_list(*(_count(rows) for _limit, rows, _most in limits))[0]
    over = (name for (name, _rows, most), count in zip(limits, counts, strict=True) if (count or 0) >= most)
    return next(over, "")


def _count(rows: "QuerySet[Entry]") -> Subquery:
    one_group = rows.order_by().annotate(all=Value(1)).values("all")
    return Subquery(one_group.annotate(count=Count("pk")).values("count"), output_field=IntegerField())


# --- "Text me my link": the address's limit is told; a number's own limit never is, as it would tell of its stakes


def count_link_request(address: str) -> None:
    """Count a request. Raise Refused (429) if this address made too many in the last hour, whatever the number."""
    since = clock.now() - WINDOW
    LinkRequest.objects.filter(at__lte=since).delete()
    for rows, factor in _buckets(address):
        if LinkRequest.objects.filter(rows, at__gt=since).count() >= settings.LINKS_PER_ADDRESS_HOUR * factor:
            raise Refused(
                429,
                _("Too many links were requested from your network. Try again in an hour."),
                "phone_number",
                retry_after=int(WINDOW.total_seconds()),
            )
    LinkRequest.objects.create(client_address=address or None, client_site=site_of(address))
