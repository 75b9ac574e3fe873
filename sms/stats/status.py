"""Read the state of sending at this moment (`read`), and find the problems in it (`concerns`)."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection
from django.db.models import Min

from sms import conf
from sms.conf import PROVIDER
from sms.errors import Trouble
from sms.formats import MANY, span, texts
from sms.models import SmsEvent, SmsMessage, SmsPause, SmsWorker, Status

# Seconds between two updates of a worker's row.
BEAT_SECONDS = 5
# A worker counts as stopped after this many seconds without an update.
ALIVE_SECONDS = 30
# A problem is reported if a message has been due, or a signal receiver has been running, for longer than this.
LATE_SECONDS = 60
# Seconds after which an open transaction is reported. Until it ends, PostgreSQL cannot remove dead rows, which slow
# down the queries for due messages.
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
    """Return the running workers: those that updated their row in the last 30 s (ALIVE_SECONDS)."""
    return list(SmsWorker.objects.filter(seen_at__gte=now - timedelta(seconds=ALIVE_SECONDS)).order_by("name"))


def waiting() -> int:
    """Return the number of queued messages, at most 10,000 (MANY)."""
    return SmsMessage.objects.filter(status=Status.QUEUED).order_by()[:MANY].count()


def oldest_due(now: datetime, pauses: Sequence[SmsPause] = ()) -> datetime | None:
    """Return the earliest due time of the due messages that are neither retries nor paused, or None."""
    paused = {pause.kind for pause in pauses}
    if SmsPause.ALL in paused:
        return None
    due = SmsMessage.objects.filter(status=Status.QUEUED, due_at__lte=now, retries=0).exclude(kind__in=paused)
    oldest: datetime | None = due.aggregate(oldest=Min("due_at"))["oldest"]
    return oldest


def last_attempts(count: int = 20) -> list[SmsEvent]:
    """Return the newest `count` events about token requests and send requests, newest first."""
    return list(SmsEvent.objects.filter(what="attempt", step__in=("send", "token")).order_by("-id")[:count])


def trouble(alive: Sequence[SmsWorker], attempts: Sequence[SmsEvent], now: datetime) -> tuple[Trouble, str]:
    """Return the fault that prevents DMark from accepting messages, and its error text, or (Trouble.NONE, "").

    A fault that a running worker reports takes precedence. Otherwise, the newest attempt of the last hour decides.
    Trouble.PROVIDER counts only if at least 80% of the last hour's `attempts` failed with it (minimum 3 attempts).
    """
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


class Concern(NamedTuple):
    """A problem with the sending of messages.

    `name`: stays the same while the problem lasts. `level`: error or warning. `remedy`: the operator's next step.
    """

    name: str
    level: str
    text: str
    remedy: str


def held_open() -> Concern | None:
    """Return a concern if a transaction of this database has been open for over 60 s (HELD_OPEN_SECONDS), or else None.

    PostgreSQL shows the transactions of other users only to roles with `pg_read_all_stats`.
    """
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute(_HELD_OPEN, [HELD_OPEN_SECONDS])
        row = cursor.fetchone()
    if row is None:
        return None
    pid, user, application, state, seconds = row
    named = ", ".join(filter(None, (application, state))) or "no name"
    return Concern(
        "held_open",
        "warning",
        f"A database transaction has been open for {span(float(seconds))}: process {pid} of "
        f"{user or 'an unknown user'} ({named}). It slows sending down.",
        f"A backup ends by itself. End a forgotten session with SELECT pg_terminate_backend({pid}).",
    )


def rate_limited(now: datetime) -> int:
    """Return how often the rate limit delayed or stopped a message in the last day, at most 10,000 (MANY).

    Successive delays of one message count as one.
    """
    since = now - timedelta(days=1)
    return SmsEvent.objects.filter(step="throttle", at__gte=since).order_by()[:MANY].count()


class Reading(NamedTuple):
    """The state of sending at `time`.

    `oldest`: due time of the oldest due message. `last`: events of the last 20 requests, newest first.
    """

    config: conf.Config
    time: datetime
    pauses: list[SmsPause]
    workers: list[SmsWorker]
    waiting: int
    oldest: datetime | None
    last: list[SmsEvent]

    @property
    def late(self) -> float:
        """The seconds since the oldest due message became due, or 0.0. Retries and paused messages are ignored."""
        return (self.time - self.oldest).total_seconds() if self.oldest else 0.0


def read(now: datetime) -> Reading:
    pauses = list(SmsPause.objects.order_by("since"))
    return Reading(
        config=conf.current(),
        time=now,
        pauses=pauses,
        workers=workers(now),
        waiting=waiting(),
        oldest=oldest_due(now, pauses),
        last=last_attempts(),
    )


def concerns(reading: Reading) -> Iterator[Concern]:
    """Yield the problems of sending and of signal receivers. If SMS is switched off, this is the only problem."""
    config = reading.config
    if not config.enabled:
        yield Concern(
            "off",
            "error",
            "SMS is switched off: no text is sent.",
            "Set SMS_SERVICE_BASE_URL, SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD and restart. Then resend the "
            "texts that are disabled.",
        )
        return
    yield from map(_pause, reading.pauses)
    if config.delivery == "worker" and not reading.workers:
        yield Concern(
            "no_worker",
            "error" if reading.waiting else "warning",
            f"No SMS worker is running; {texts(reading.waiting)} waiting.",
            "Start manage.py sms_worker, and check that your service manager restarts it.",
        )
    trouble = _trouble(reading)
    if trouble:
        yield trouble
    if config.delivery == "worker" and reading.workers and reading.late > LATE_SECONDS and not trouble:
        yield Concern(
            "queue",
            "warning",
            f"The queue is growing: {texts(reading.waiting)} waiting, the oldest for {span(reading.late)}.",
            "Start one more manage.py sms_worker. Any number of workers can share the queue.",
        )
    behind = max((worker.receivers_behind for worker in reading.workers), default=0)
    if behind > LATE_SECONDS:
        yield Concern(
            "receivers",
            "warning",
            f"A receiver of sms_sent or sms_failed has been running for {span(behind)}. Messages are still sent.",
            "Find the receiver that hangs, and restart the worker; signals not sent by then are lost.",
        )
    if config.delivery != "worker" and reading.late > config.lease + config.longest_send:
        yield Concern(
            "left_behind",
            "warning",
            f"{texts(reading.waiting)} left waiting by a process that was killed, or by a pause.",
            "Run manage.py sms_worker --once, by cron if this happens often.",
        )


def _pause(pause: SmsPause) -> Concern:
    return Concern(
        f"paused:{pause.kind}",
        "error" if pause.kind == SmsPause.ALL else "warning",
        f"{pause.sentence.rstrip('.')}.",
        "Resume when the problem is fixed. Texts that expire in the meantime will not be sent.",
    )


def _trouble(reading: Reading) -> Concern | None:
    kind, words = trouble(reading.workers, reading.last, reading.time)
    if kind == Trouble.CREDENTIALS:
        return Concern(
            kind.value,
            "error",
            f"No text is sent: {words}",
            "Correct SMS_SERVICE_BASE_URL, SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD and restart. Waiting texts "
            "are sent then.",
        )
    if kind == Trouble.ACCOUNT:
        return Concern(
            kind.value,
            "error",
            f"{PROVIDER} refuses our account, so no text is sent: {words}",
            f"Top up, or call {PROVIDER}. A worker keeps trying and sends what waits. Without a worker, resend the "
            "failed texts afterwards.",
        )
    if kind == Trouble.PROVIDER:
        return Concern(
            kind.value,
            "error",
            f"{PROVIDER} is in trouble: {words}",
            f"A worker continues when {PROVIDER} is back. Without a worker, resend the failed texts afterwards. If it "
            f"lasts, call {PROVIDER}.",
        )
    return None
