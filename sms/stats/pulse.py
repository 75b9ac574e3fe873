"""How sending is doing at this moment, in a few cheap queries: for the overview, the health check and the metrics."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection
from django.db.models import Min

from sms.errors import Trouble
from sms.models import SmsEvent, SmsMessage, SmsPause, SmsWorker, Status

logger = logging.getLogger("sms.pulse")

# A worker says every BEAT_SECONDS that it lives; one that was silent for ALIVE_SECONDS counts as gone.
BEAT_SECONDS = 5
ALIVE_SECONDS = 30
# Texts that have been due for longer than that are late.
LATE_SECONDS = 60
MANY = 10_000
# While a transaction is open nothing that died since can be cleared away, and each claim has to step over it.
HELD_OPEN_SECONDS = 60.0
_HELD_OPEN = """
    SELECT pid, usename, COALESCE(application_name, ''), COALESCE(state, ''),
        EXTRACT(EPOCH FROM clock_timestamp() - xact_start)
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
        AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
        AND xact_start < clock_timestamp() - make_interval(secs => %s)
    ORDER BY xact_start LIMIT 1
"""


def workers(now: datetime) -> list[SmsWorker]:
    """Those that live."""
    return list(SmsWorker.objects.filter(seen_at__gte=now - timedelta(seconds=ALIVE_SECONDS)).order_by("name"))


def waiting() -> int:
    """Queued texts, counted up to MANY."""
    return SmsMessage.objects.filter(status=Status.QUEUED).order_by()[:MANY].count()


def oldest_due(now: datetime, holds: Sequence[SmsPause] = ()) -> datetime | None:
    """Since when the oldest text that could have gone waits. What was put back for a later try is not late.

    Nor is what an operator has paused, where the `holds` are given.
    """
    held = {hold.kind for hold in holds}
    if SmsPause.ALL in held:
        return None
    due = SmsMessage.objects.filter(status=Status.QUEUED, due_at__lte=now, retries=0).exclude(kind__in=held)
    oldest: datetime | None = due.aggregate(oldest=Min("due_at"))["oldest"]
    return oldest


def last_attempts(count: int = 20) -> list[SmsEvent]:
    """The newest requests to DMark, newest first."""
    return list(SmsEvent.objects.filter(what="attempt", step__in=("send", "token")).order_by("-id")[:count])


def trouble(alive: Sequence[SmsWorker], attempts: Sequence[SmsEvent], now: datetime) -> tuple[Trouble, str]:
    """What keeps DMark from taking texts, with its words; (Trouble.NONE, "") where nothing does."""
    for worker in alive:
        if worker.trouble:
            return Trouble(worker.trouble), worker.paused
    fresh = [event for event in attempts if event.at > now - timedelta(hours=1)]
    newest = fresh[0] if fresh else None
    if newest is None or not newest.trouble:
        return Trouble.NONE, ""
    if newest.trouble != Trouble.PROVIDER.value:
        return Trouble(newest.trouble), newest.error
    failed = sum(event.trouble == Trouble.PROVIDER.value for event in fresh)
    if len(fresh) >= 3 and failed >= 0.8 * len(fresh):
        return Trouble.PROVIDER, newest.error
    return Trouble.NONE, ""


class HeldOpen(NamedTuple):
    """A transaction that is open for long, by whom, and for how many seconds."""

    pid: int
    user: str
    application: str
    state: str
    seconds: float


def held_open() -> HeldOpen | None:
    """The oldest transaction of this database over HELD_OPEN_SECONDS; of other users only where the role may see
    them (`pg_read_all_stats`). None on SQLite."""
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute(_HELD_OPEN, [HELD_OPEN_SECONDS])
        row = cursor.fetchone()
    if row is None:
        return None
    pid, user, application, state, seconds = row
    return HeldOpen(pid, user or "somebody", application, state, float(seconds))


def throttled(now: datetime) -> int:
    """How often the rate limit held a text back within the last day, counted up to MANY."""
    since = now - timedelta(days=1)
    return SmsEvent.objects.filter(step="throttle", at__gte=since).order_by()[:MANY].count()
