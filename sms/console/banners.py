"""Banners on admin pages. Each banner describes a problem with sending, and the operator's next step."""

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlencode

from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from sms import clock, conf
from sms.conf import PROVIDER
from sms.dmark import access_token
from sms.formats import moment, span
from sms.stats import by_network, failures, status

logger = logging.getLogger("sms.banners")

_CACHE_DOWN = "the cache is down"


class Banner(NamedTuple):
    """One problem, as shown to operators. `level`: error or warning.

    `topic`: a section of docs/troubleshooting.md, or "". `url`: the page on which the operator can act, or "".
    """

    level: str
    text: str
    remedy: str
    topic: str = ""
    url: str = ""


class Snapshot(NamedTuple):
    """The state of sending at one moment. `token` describes the cached access token."""

    sending: status.Reading
    token: str
    failed: list[failures.Group]
    slow: list[by_network.Slow]
    held_open: status.Concern | None = None


def raised(snapshot: Snapshot | None = None) -> list[Banner]:
    """Return a banner for each problem. If `snapshot` is None, the state is read from the database and the cache."""
    return list(_banners(snapshot or read(clock.now())))


def read(now: datetime) -> Snapshot:
    return Snapshot(
        status.read(now), _token_state(), failures.groups(now), by_network.in_trouble(now), status.held_open()
    )


def failed_url(group: failures.Group) -> str:
    """Return the URL of the admin list of the messages in `group`."""
    query = {"status__exact": group.status, "reason": group.reason, "within": round(failures.SPAN.total_seconds())}
    return f"{reverse('admin:sms_smsmessage_changelist')}?{urlencode(query)}"


def _token_state() -> str:
    """Describe the state of the cached access token. The description does not contain the token."""
    try:
        token = cache.get(access_token.cache_key(conf.current()))
    # Each cache backend raises its own exceptions. The overview must be shown even if the cache is down.
    except Exception as error:  # noqa: BLE001
        logger.warning(
            "sms.cache_down: the cache does not answer (%s)", type(error).__name__, extra={"event": "sms.cache_down"}
        )
        return _CACHE_DOWN
    if not isinstance(token, str):
        return "No access token yet; one is fetched with the next text."
    ends = access_token.expires_at(token)
    if ends is None:
        return "cached; its expiry is not known"
    try:
        until = datetime.fromtimestamp(ends, tz=timezone.get_current_timezone())
    except (ValueError, OverflowError, OSError):  # The expiry is outside the range of datetime.
        return "cached; it never expires"
    return f"cached; valid until {moment(until)}"


def _banners(snapshot: Snapshot) -> Iterable[Banner]:
    yield from map(_of_concern, status.concerns(snapshot.sending))
    config = snapshot.sending.config
    if not config.enabled:
        return
    if snapshot.token == _CACHE_DOWN:
        yield Banner(
            "warning",
            "The cache does not answer. Texts are sent, but each process fetches an access token of its own.",
            "Check the cache server and the setting CACHES.",
            "cache",
        )
    if path := access_token.working_path(config):
        yield Banner(
            "warning",
            f"{PROVIDER} issues tokens at {path}, not at {config.token_path}, so each token takes two requests.",
            f"Set SMS_TOKEN_PATH={path}.",
            "token_path",
        )
    if snapshot.held_open:
        yield _of_concern(snapshot.held_open)
    yield from map(_of_concern, by_network.concerns(snapshot.slow))
    for group in snapshot.failed:
        if group.needs_action:
            yield _of_failures(group, snapshot.sending.time)


def _of_concern(concern: status.Concern) -> Banner:
    return Banner(concern.level, concern.text, concern.remedy, concern.name.partition(":")[0])


def _of_failures(group: failures.Group, now: datetime) -> Banner:
    ago = f"The newest is {span((now - group.last).total_seconds())} old. " if group.last else ""
    return Banner(
        "warning", f"{group.counted} × {group.title}", f"{ago}Open the list to resend.", "failed", failed_url(group)
    )
