"""Where a request comes from, and the buckets in which an address counts against a limit."""

import ipaddress
import logging
import re

from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest

logger = logging.getLogger("game.addresses")

# A /48 is a company or a hoster rather than a subscriber: so many times what one address may do.
SITE_FACTOR = 10
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
        # All of these share one bucket, so an operator should know.
        logger.warning("game.no_address: a client's address cannot be read; TRUSTED_PROXY_COUNT is %s", count)
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return _network(address, 64)


def site_of(address: str) -> str | None:
    """The /48 that an IPv6 address of `client_address` lies in."""
    read = ipaddress.ip_address(address) if address else None
    return _network(read, 48) if isinstance(read, ipaddress.IPv6Address) else None


def buckets(address: str) -> list[tuple[Q, int]]:
    """Which rows with `client_address` and `client_site` count for it, and how many times the limit they may reach."""
    found = [(Q(client_address=address or None), 1)]
    if site := site_of(address):
        found.append((Q(client_site=site), SITE_FACTOR))
    return found


def _network(address: ipaddress.IPv6Address, bits: int) -> str:
    return str(ipaddress.ip_network((address, bits), strict=False).network_address)
