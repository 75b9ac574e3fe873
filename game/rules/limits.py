"""Limits against misuse of phone numbers and guessing of match codes. The database stores the counts.

A limit per address applies to an IPv6 client's /64 network. The limit of a /48 network is SITE_FACTOR times as high.
"""

import ipaddress
import logging
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, IntegerField, Q, QuerySet, Subquery, Value
from django.http import HttpRequest
from django.utils.translation import gettext_noop as _

from game.models import Entry, LinkRequest, Player, RefusedStake, WrongCode
from game.rules.locks import lock_recipient
from game.rules.validation import Refused
from payments.models import Payment
from payments.statements import Select
from sms import clock

logger = logging.getLogger("game.limits")

CODES_WINDOW = timedelta(minutes=10)
WINDOW = timedelta(hours=1)
# The limit of a /48 network is the limit of an address times this factor, because a whole company can share a /48
# network.
SITE_FACTOR = 10

# Sentences about a refused invite, by the limit that was reached.
INVITE_REFUSALS = {
    "inviter": _("You have reached today's limit of invites. Share the code yourself."),
    "recipient": _("This number has reached today's limit of invites. Share the code yourself."),
    "address": _("Too many invites were sent from your network in the last hour. Share the code yourself."),
}


# Matches an IP address in brackets or with a port, as some proxies write it.
_WITH_PORT = re.compile(r"\[([^]]*)\](?::\d+)?|([\d.]+):\d+")


def client_address(request: HttpRequest) -> str:
    """Return the client's IP address, or "" if it is unreadable.

    An IPv6 address is shortened to its /64 network, because a subscriber usually has a whole /64.
    """
    count = settings.TRUSTED_PROXY_COUNT
    hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
    seen = hops[-count] if count > 0 and len(hops) >= count else str(request.META.get("REMOTE_ADDR", ""))
    # Remove a port, as in 192.0.2.1:5678 or [2001:db8::1]:5678.
    if match := _WITH_PORT.fullmatch(seen):
        seen = match[1] or match[2]
    try:
        address = ipaddress.ip_address(seen.partition("%")[0])
    except ValueError:
        # The limits count all clients without a readable address as one client.
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
    """Return the /48 network of an IPv6 address, or None for an IPv4 or empty address."""
    parsed = ipaddress.ip_address(address) if address else None
    return _network(parsed, 48) if isinstance(parsed, ipaddress.IPv6Address) else None


def _is_over(attempts: "QuerySet[Any]", limit: int, address: str) -> bool:
    """Return True if `attempts` reaches the limit of this address, or the higher limit of its /48 network."""
    if attempts.filter(client_address=address or None).count() >= limit:
        return True
    site = site_of(address)
    return site is not None and attempts.filter(client_site=site).count() >= limit * SITE_FACTOR


def _from(address: str) -> dict[str, str | None]:
    """Return the values of the columns that hold a client's address."""
    return {"client_address": address or None, "client_site": site_of(address)}


def _network(address: ipaddress.IPv6Address, bits: int) -> str:
    return str(ipaddress.ip_network((address, bits), strict=False).network_address)


def refuse_code_guessing(address: str) -> None:
    """Raise Refused (429) if this address has sent too many wrong codes in the last 10 minutes."""
    recent = WrongCode.objects.filter(at__gt=clock.now() - CODES_WINDOW)
    if _is_over(recent, settings.WRONG_CODES_PER_ADDRESS, address):
        raise Refused(
            429,
            _("Too many wrong match codes came from your network. Try again in 10 minutes."),
            "match_code",
            retry_after=int(CODES_WINDOW.total_seconds()),
        )


def count_wrong_code(address: str) -> None:
    WrongCode.objects.create(**_from(address))


# Unpaid stakes are limited, because each makes a phone show a payment prompt and anybody can enter any phone number.


def refuse_stakes_from(address: str) -> None:
    """Raise Refused (429) if this address has placed too many unpaid stakes in the last hour.

    Refused stakes count too, because a refusal can reveal that a phone number has a stake.
    """
    since, limit = clock.now() - WINDOW, settings.UNPAID_STAKES_PER_ADDRESS_HOUR
    wait = _wait(limit, lambda newer: _stakes_from(address, since, newer))
    if wait is None and (site := site_of(address)):
        network = ipaddress.ip_address(site)
        wait = _wait(limit * SITE_FACTOR, lambda newer: _FROM_SITE(site=network, since=since, newer=newer))
    if wait is not None:
        raise Refused(
            429,
            _("Too many unpaid stakes came from your network. Try again in %(minutes)s minutes."),
            retry_after=wait,
            minutes=-(-wait // 60),
        )


def _stakes_from(address: str, since: datetime, newer: int) -> list[tuple[datetime]]:
    if address:
        return _FROM_ADDRESS(address=ipaddress.ip_address(address), since=since, newer=newer)
    return list(_attempts(Q(client_address=None), since, newer))


def _attempts(rows: Q, since: datetime, newer: int) -> "QuerySet[Entry, tuple[datetime]]":
    """Return at most one row: the time of the (`newer` + 1)-th newest unpaid or refused stake after `since`."""
    unpaid = Entry.objects.filter(rows, opened_at=None, created_at__gt=since)
    times = unpaid.exclude(payment__status=Payment.Status.SUCCESS).values_list("created_at").order_by()
    refused = RefusedStake.objects.filter(rows, at__gt=since).values_list("at").order_by()
    return times.union(refused, all=True).order_by("-created_at")[newer : newer + 1]


_FROM_ADDRESS = Select(lambda address, since, newer: _attempts(Q(client_address=str(address)), since, newer))
_FROM_SITE = Select(lambda site, since, newer: _attempts(Q(client_site=str(site)), since, newer))


def refuse_unpaid(entries: Sequence[Entry]) -> None:
    """Raise Refused (429) if a player has left too many stakes unpaid in the last hour.

    `entries` must include the last hour's entries that were never active.
    """
    since = clock.now() - WINDOW
    unpaid = sorted(
        entry.created_at
        for entry in entries
        if entry.opened_at is None and entry.created_at > since and entry.payment.status != Payment.Status.SUCCESS
    )
    moments = [(moment,) for moment in reversed(unpaid)]
    wait = _wait(settings.UNPAID_STAKES_PER_PHONE_HOUR, lambda newer: moments[newer : newer + 1])
    if wait is not None:
        raise Refused(
            429,
            _("This number has too many unpaid stakes. Try again in %(minutes)s minutes."),
            "phone_number",
            retry_after=wait,
            minutes=-(-wait // 60),
        )


def count_refused_stake(address: str) -> None:
    RefusedStake.objects.create(**_from(address))


def _wait(limit: int, after: Callable[[int], list[tuple[datetime]]]) -> int | None:
    """Return the seconds until `limit` allows another stake, or None if it allows one now.

    `after(n)` returns a list with the time of the (n + 1)-th newest counted stake, or an empty list.
    """
    if limit <= 0:
        return int(WINDOW.total_seconds())
    # The `limit`-th newest counted stake. Another stake is allowed when this one is older than WINDOW.
    blocking = after(limit - 1)
    if not blocking:
        return None
    return max(1, int((blocking[0][0] + WINDOW - clock.now()).total_seconds()) + 1)


# Limits on invites are checked when a stake is placed, and again when it is activated, before the invite is queued.


def order_invite(entry: Entry, invite_phone: str) -> None:
    """Set the invited phone number on an unsaved entry. If a limit forbids the invite, set `invite_refused` instead."""
    entry.invite_refused = _invite_refusal(entry, invite_phone)
    entry.invite_phone = "" if entry.invite_refused else invite_phone


def admit_invite(entry: Entry) -> None:
    """Lock the invited phone number, check the limits on invites again, and set the result on `entry`.

    The caller saves `entry`.
    """
    if entry.invite_phone:
        lock_recipient(entry.invite_phone)
        order_invite(entry, entry.invite_phone)


def _invite_refusal(entry: Entry, invite_phone: str) -> str:
    """Return the key in INVITE_REFUSALS of the limit that forbids this invite, or "" if the invite is allowed."""
    now, per_address = clock.now(), settings.INVITES_PER_ADDRESS_HOUR
    limits = [
        ("inviter", settings.INVITES_PER_INVITER_DAY),
        ("recipient", settings.INVITES_PER_RECIPIENT_DAY),
        ("address", per_address),
        ("address", per_address * SITE_FACTOR),
    ]
    found = _invites_of(
        entry.client_address or "",
        own=entry.pk or 0,
        player=entry.player_id,
        phone=invite_phone,
        today=now - timedelta(days=1),
        this_hour=now - WINDOW,
    )
    over = (name for (name, most), count in zip(limits, found, strict=False) if (count or 0) >= most)
    return next(over, "")


def _invites_of(address: str, **which: Any) -> tuple[int | None, ...]:
    """Count the recent invites for each limit: by inviter, recipient, address and /48 network (only for IPv6)."""
    if not address:
        return _invites([Q(client_address=None)], **which)[0]
    if site := site_of(address):
        network = ipaddress.ip_address(site)
        return _INVITES_FROM_IPV6(address=ipaddress.ip_address(address), site=network, **which)[0]
    return _INVITES_FROM_IPV4(address=ipaddress.ip_address(address), **which)[0]


def _invites(
    origins: Sequence[Q], *, own: int, player: int, phone: str, today: datetime, this_hour: datetime
) -> "QuerySet[Player, tuple[int | None, ...]]":
    # Count only invites of paid stakes. Otherwise anybody could use up the limit of another player without paying.
    sent = Entry.objects.exclude(invite_phone="").exclude(pk=own)
    rows = [
        sent.filter(opened_at__gt=today, player_id=player),
        sent.filter(opened_at__gt=today, invite_phone=phone),
        *(sent.filter(origin, opened_at__gt=this_hour) for origin in origins),
    ]
    # One statement returns all counts. Each count is a subquery that uses an index.
    return Player.objects.filter(pk=player).values_list(*map(_count, rows))


_INVITES_FROM_IPV4 = Select(lambda address, **which: _invites([Q(client_address=str(address))], **which))
_INVITES_FROM_IPV6 = Select(
    lambda address, site, **which: _invites([Q(client_address=str(address)), Q(client_site=str(site))], **which)
)


def _count(rows: "QuerySet[Entry]") -> Subquery:
    one_group = rows.order_by().annotate(all=Value(1)).values("all")
    return Subquery(one_group.annotate(count=Count("pk")).values("count"), output_field=IntegerField())


# Only the limit per address shows an error. An error for a phone number would reveal that the number has a stake.


def count_link_request(address: str) -> None:
    """Count a request for a link. Raise Refused (429) if this address made too many such requests in the last hour."""
    since = clock.now() - WINDOW
    LinkRequest.objects.filter(at__lte=since).delete()
    if _is_over(LinkRequest.objects.filter(at__gt=since), settings.LINKS_PER_ADDRESS_HOUR, address):
        raise Refused(
            429,
            _("Too many links were requested from your network. Try again in an hour."),
            "phone_number",
            retry_after=int(WINDOW.total_seconds()),
        )
    LinkRequest.objects.create(**_from(address))
