"""Limits on what strangers could abuse: invites to numbers that anybody can type in, and guessing codes."""

import ipaddress
import logging
import re
from datetime import timedelta

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from game.models import Entry, Player
from game.rules.refused import Refused

logger = logging.getLogger("game.limits")

CODE_WINDOW_SECONDS = 600
# Why an invite may not leave, by the limit that it would pass.
INVITE_REFUSALS = {
    "inviter": _("You have sent as many invites as one player may send in a day; share the code yourself."),
    "recipient": _("This number has had as many invites as one may get in a day; share the code yourself."),
    "address": _("Too many invites came from your network in the last hour; share the code yourself."),
}
_WITH_PORT = re.compile(r"\[([^]]*)\](?::\d+)?|([\d.]+):\d+")


def client_address(request: HttpRequest) -> str:
    """The caller's address, as the outermost of TRUSTED_PROXY_COUNT proxies saw it; "" where nobody tells.

    Of an IPv6 address the first 64 bits: a subscriber has all the rest to choose from.
    """
    count = settings.TRUSTED_PROXY_COUNT
    hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
    seen = hops[-count] if count > 0 and len(hops) >= count else str(request.META.get("REMOTE_ADDR", ""))
    # Some proxies write a port, as in 192.0.2.1:5678 or [2001:db8::1]:5678.
    if match := _WITH_PORT.fullmatch(seen):
        seen = match[1] or match[2]
    try:
        address = ipaddress.ip_address(seen.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False).network_address)


def invite_refusal(player: Player, invite_phone: str, address: str | None) -> str:
    """Which limit keeps this invite from leaving, a key of INVITE_REFUSALS; "" when it may leave."""
    now = timezone.now()
    day, hour = now - timedelta(days=1), now - timedelta(hours=1)
    # Only invites that left: an unpaid stake must not use up what a stranger may receive.
    invited = Entry.objects.exclude(invite_phone="")
    if invited.filter(player=player, opened_at__gt=day).count() >= settings.INVITES_PER_INVITER_DAY:
        return "inviter"
    if invited.filter(invite_phone=invite_phone, opened_at__gt=day).count() >= settings.INVITES_PER_RECIPIENT_DAY:
        return "recipient"
    if address and (
        invited.filter(client_address=address, opened_at__gt=hour).count() >= settings.INVITES_PER_ADDRESS_HOUR
    ):
        return "address"
    return ""


def _codes_key(address: str) -> str:
    return f"game_wrong_codes:{address}"


def refuse_code_guessing(address: str) -> None:
    """Raises Refused (429) once this address has given too many wrong codes."""
    if not address:
        return
    try:
        wrong = cache.get(_codes_key(address), 0)
    # A cache that is down must not keep players from joining.
    except Exception:
        logger.warning("The cache is down: wrong match codes are not counted.", exc_info=True)
        return
    if isinstance(wrong, int) and wrong >= settings.WRONG_CODES_PER_ADDRESS:
        raise Refused(
            429,
            _("Too many wrong match codes came from your network; try again in 10 minutes."),
            "match_code",
            retry_after=CODE_WINDOW_SECONDS,
        )


def count_wrong_code(address: str) -> None:
    if not address:
        return
    try:
        cache.add(_codes_key(address), 0, CODE_WINDOW_SECONDS)
        cache.incr(_codes_key(address))
    # ValueError: the key ran out in between. Anything else: the cache is down.
    except Exception:
        logger.warning("The cache is down: a wrong match code was not counted.", exc_info=True)
