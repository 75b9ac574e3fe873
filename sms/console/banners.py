"""What is wrong with the sending right now, and what to do about it."""

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlencode

from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from sms import clock, conf
from sms.dmark import access_token
from sms.stats import concerns, failures, networks, pulse
from sms.stats.wording import span

logger = logging.getLogger("sms.banners")


class Banner(NamedTuple):
    """`level`: error or warning; `remedy`: what to do about it; `topic`: its paragraph in docs/troubleshooting.md;
    `url`: where to do it."""

    level: str
    text: str
    remedy: str
    topic: str = ""
    url: str = ""


class Now(NamedTuple):
    """What was read at one moment."""

    sending: concerns.Reading
    token: str
    failed: list[failures.Group]
    slow: list[networks.Slow]
    held: pulse.HeldOpen | None = None


def raised(reading: Now | None = None) -> list[Banner]:
    """What an operator must know, the gravest first; empty when all is well."""
    return list(_banners(reading or read(clock.now())))


def read(now: datetime) -> Now:
    return Now(concerns.read(now), _token_state(), failures.groups(now), networks.in_trouble(now), pulse.held_open())


def failed_url(group: failures.Group) -> str:
    """The list of the texts of a group."""
    query = {"status__exact": group.status, "reason": group.reason, "within": round(failures.SPAN.total_seconds())}
    return f"{reverse('admin:sms_smsmessage_changelist')}?{urlencode(query)}"


def _token_state() -> str:
    """What the cache holds, in words; never the token."""
    try:
        token = cache.get(access_token.cache_key(conf.current()))
    # Each backend has errors of its own; the overview says that it is down, and the rest is still shown.
    except Exception as error:  # noqa: BLE001
        logger.warning("sms.cache_down (%s)", type(error).__name__, extra={"event": "sms.cache_down"})
        return "cache down"
    if not isinstance(token, str):
        return "none cached in this process or the shared cache; the next text fetches one"
    ends = access_token.expires_at(token)
    if ends is None:
        return "cached; it does not say how long it lives"
    try:
        until = datetime.fromtimestamp(ends, tz=timezone.get_current_timezone())
    except (ValueError, OverflowError, OSError):  # further away than a calendar goes
        return "cached; it never ends"
    return f"cached; good until {until:%d.%m. %H:%M}"


def _banners(reading: Now) -> Iterable[Banner]:
    for concern in concerns.found(reading.sending):
        yield Banner(concern.level, concern.text, concern.remedy, concern.name.partition(":")[0])
    if not reading.sending.config.enabled:
        return
    if reading.token == "cache down":  # noqa: S105
        yield Banner(
            "warning",
            "The cache does not answer: texts go out without a shared token and without the rate limit.",
            "Check REDIS_URL and the Redis server.",
            "cache",
        )
    config = reading.sending.config
    if path := access_token.working_path(config):
        yield Banner(
            "warning",
            f"DMark gives its token at {path}, not at {config.token_path}, so each token takes two requests.",
            f"Set SMS_TOKEN_PATH={path}.",
            "token_path",
        )
    if held := reading.held:
        yield Banner(
            "warning",
            f"A transaction is open for {span(held.seconds)}: process {held.pid} of {held.user} "
            f"({', '.join(filter(None, (held.application, held.state))) or 'no name'}). Sending slows while it is.",
            f"A back-up ends by itself; what was forgotten is ended by SELECT pg_terminate_backend({held.pid}).",
            "held_open",
        )
    for slow in reading.slow:
        head, _, remedy = slow.words.partition(". ")
        yield Banner("warning", f"{head}.", remedy, "network")
    for group in reading.failed:
        if not group.over:
            ago = span((reading.sending.time - group.last).total_seconds()) if group.last else ""
            words = f"{group.counted} × {group.title}"
            remedy = f"The newest {ago} ago. See them, and send them again."
            yield Banner("warning", words, remedy, "failed", failed_url(group))
