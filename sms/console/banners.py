"""What is wrong with the sending right now, and what to do about it."""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from django.core.cache import cache
from django.utils import timezone

from sms import conf
from sms.console.wording import amount, span
from sms.dmark import access_token
from sms.figures import pulse
from sms.models import SmsEvent, SmsMessage, SmsWorker, Status

logger = logging.getLogger("sms.banners")


class Banner(NamedTuple):
    """`level`: error or warning; `remedy`: what to do about it."""

    level: str
    text: str
    remedy: str


class Now(NamedTuple):
    """What was read at one moment."""

    config: conf.Config
    time: datetime
    workers: list[SmsWorker]
    waiting: int
    oldest: datetime | None
    last: list[SmsEvent]
    token: str
    failed_hour: int


def raised(reading: Now | None = None) -> list[Banner]:
    """What an operator must know, the gravest first; empty when all is well."""
    return list(_banners(reading or read(timezone.now())))


def read(now: datetime) -> Now:
    return Now(
        config=conf.current(),
        time=now,
        workers=pulse.workers(now),
        waiting=pulse.waiting(),
        oldest=pulse.oldest_due(now),
        last=pulse.last_attempts(),
        token=_token_state(),
        failed_hour=SmsMessage.objects.filter(
            status__in=(Status.FAILED, Status.UNDELIVERED), created_at__gte=now - timedelta(hours=1)
        ).count(),
    )


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
    config = reading.config
    if not config.enabled:
        yield Banner(
            "error",
            "SMS is off: no text leaves.",
            "Set SMS_SERVICE_BASE_URL, SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD; then send it again.",
        )
        return
    late = (reading.time - reading.oldest).total_seconds() if reading.oldest else 0.0
    if config.delivery == "worker" and not reading.workers:
        yield Banner(
            "error" if reading.waiting else "warning",
            f"No worker is running; {amount(reading.waiting)} waiting.",
            "Start manage.py sms_worker, and see that your service manager restarts it.",
        )
    trouble = _trouble(reading)
    if trouble:
        yield trouble
    if config.delivery == "worker" and reading.workers and late > pulse.LATE_SECONDS and not trouble:
        yield Banner(
            "warning",
            f"The queue is growing: {amount(reading.waiting)} waiting, the oldest for {span(late)}.",
            "Start one more manage.py sms_worker; any number may share the table.",
        )
    if config.delivery == "inline" and late > config.lease + config.longest_send:
        yield Banner(
            "warning",
            f"{amount(reading.waiting)} left behind by a process that died.",
            "Run manage.py sms_worker --once; a cron line does it by itself.",
        )
    if reading.token == "cache down":  # noqa: S105
        yield Banner(
            "warning",
            "The cache does not answer: texts go out without a shared token and without the rate limit.",
            "Check REDIS_URL and the Redis server.",
        )
    if reading.failed_hour:
        yield Banner(
            "warning",
            f"{reading.failed_hour} of the last hour's texts failed or were not delivered.",
            "Open them with the filter 'failed' or 'undelivered'; each says why.",
        )


def _trouble(reading: Now) -> Banner | None:
    """What DMark's last answers, or a worker that has paused, say of credentials and provider."""
    kind, words = pulse.trouble(reading.workers, reading.last, reading.time)
    if kind == "credentials":
        return Banner(
            "error",
            "DMark refuses the credentials: nothing is sent.",
            "Correct SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD and restart; what waits is sent then.",
        )
    if kind == "provider":
        return Banner(
            "error",
            f"DMark is in trouble: {words}",
            "The worker goes on by itself when DMark is back; inline, send again what failed. If it lasts, call DMark.",
        )
    return None
