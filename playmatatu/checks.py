"""System checks of settings: URLs, database timeouts, and connections to Redis and PostgreSQL."""

import ipaddress
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register

_TLS = ("require", "verify-ca", "verify-full")


@register
def database_limits(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    names = [f"DATABASE_{what}_TIMEOUT" for what in ("CONNECT", "STATEMENT", "LOCK", "IDLE")]
    wrong = [name for name in names if getattr(settings, name) <= 0]
    if not wrong:
        return []
    hint = "Give seconds, more than 0. Work that needs no limit runs as a command, not in the site."
    return [Error(f"{' and '.join(wrong)} must be more than 0.", hint=hint, id="playmatatu.E001")]


@register(deploy=True)
def production(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    return [*_addresses(), *_redis(), *_postgres()]


def _addresses() -> Iterator[CheckMessage]:
    if "*" in settings.ALLOWED_HOSTS:
        yield checks.Warning(
            "ALLOWED_HOSTS holds *: every request chooses the host name that the pages use.",
            hint="List the host names of the site.",
            id="playmatatu.W001",
        )
    front = urlsplit(settings.FRONTEND_URL)
    if front.scheme != "https" or _is_here(front.hostname or ""):
        yield checks.Warning(
            f"FRONTEND_URL is {settings.FRONTEND_URL}: links in messages do not reach this site, or are not encrypted.",
            hint="Set it to the public https address of the site.",
            id="playmatatu.W002",
        )


def _redis() -> Iterator[CheckMessage]:
    given = settings.CACHES["default"].get("LOCATION", "")
    for location in given if isinstance(given, list | tuple) else str(given).split(","):
        url = urlsplit(location.strip())
        if url.scheme not in ("redis", "rediss") or _is_here(url.hostname or ""):
            continue
        if url.scheme != "rediss" or not url.password:
            yield checks.Warning(
                f"Redis on {url.hostname} is reached without {'TLS' if url.password else 'a password'}: anyone "
                "with access to it can send messages from this account and lift every limit.",
                hint="Set REDIS_URL=rediss://:password@host:port/0, or use a Redis on this machine.",
                id="playmatatu.W003",
            )


def _postgres() -> Iterator[CheckMessage]:
    database = settings.DATABASES["default"]
    if "postgres" not in database["ENGINE"] or _is_here(database.get("HOST", "")):
        return
    if database.get("OPTIONS", {}).get("sslmode") not in _TLS or not database.get("PASSWORD"):
        lacks = "TLS" if database.get("PASSWORD") else "a password"
        yield checks.Warning(
            f"PostgreSQL on {database['HOST']} is reached without {lacks}: others can read links and payments.",
            hint="Set DATABASE_URL=postgres://user:password@host/name?sslmode=verify-full, or use one on this machine.",
            id="playmatatu.W004",
        )


def _is_here(host: str) -> bool:
    """Return True if `host` is this machine or the path of a Unix socket."""
    if host in ("", "localhost") or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
