"""How sending is doing at this moment, in a few cheap queries: for the overview, the health check and the metrics."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db.models import Min

from sms.models import SmsEvent, SmsHold, SmsMessage, SmsWorker, Status

logger = logging.getLogger("sms.pulse")

# A worker says every BEAT_SECONDS that it lives; one that was silent for ALIVE_SECONDS counts as gone.
BEAT_SECONDS = 5
ALIVE_SECONDS = 30
# Texts that have been due for longer than that are late.
LATE_SECONDS = 60
MANY = 10_000


def workers(now: datetime) -> list[SmsWorker]:
    """Those that live."""
    return list(SmsWorker.objects.filter(seen_at__gte=now - timedelta(seconds=ALIVE_SECONDS)).order_by("name"))


def waiting() -> int:
    """Queued texts, counted up to MANY."""
    return SmsMessage.objects.filter(status=Status.QUEUED).order_by()[:MANY].count()


def oldest_due(now: datetime, holds: Sequence[SmsHold] = ()) -> datetime | None:
    """Since when the oldest text that could have gone waits. What was put back for a later try is not late.

    Nor is what an operator has paused, where the `holds` are given.
    """
    held = {hold.kind for hold in holds}
    if SmsHold.ALL in held:
        return None
    due = SmsMessage.objects.filter(status=Status.QUEUED, due_at__lte=now, retries=0).exclude(kind__in=held)
    oldest: datetime | None = due.aggregate(oldest=Min("due_at"))["oldest"]
    return oldest


def last_attempts(count: int = 20) -> list[SmsEvent]:
    """The newest requests to DMark, newest first."""
    return list(SmsEvent.objects.filter(what="attempt", step__in=("send", "token")).order_by("-id")[:count])


def trouble(alive: Sequence[SmsWorker], attempts: Sequence[SmsEvent], now: datetime) -> tuple[str, str]:
    """What keeps DMark from taking texts: (`credentials` or `provider`, its words), or ("", "")."""
    paused = next((worker.paused for worker in alive if worker.paused), "")
    fresh = [event for event in attempts if event.at > now - timedelta(hours=1)]
    newest = fresh[0] if fresh else None
    refused = newest is not None and newest.step == "token" and 400 <= (newest.http_status or 0) < 500
    if "credentials" in paused or (refused and newest and newest.http_status != 429):
        return "credentials", paused or (newest.error if newest else "")
    failed = [event for event in fresh if event.error and (event.http_status is None or event.http_status >= 429)]
    if paused or (newest and newest.error and len(fresh) >= 3 and len(failed) >= 0.8 * len(fresh)):
        return "provider", paused or (newest.error if newest else "")
    return "", ""


def throttled(now: datetime) -> int:
    """How often the rate limit held a text back within the last day, counted up to MANY."""
    since = now - timedelta(days=1)
    return SmsEvent.objects.filter(step="throttle", at__gte=since).order_by()[:MANY].count()
