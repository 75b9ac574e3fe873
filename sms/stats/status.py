"""Read the state of sending at this moment, in a few cheap queries.

The admin, the health check, /metrics, the alerts and the command `check_sending` use this module. `read` returns the
whole state. `concerns` derives the problems from that state.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection
from django.db.models import Min

from sms import conf
from sms.conf import PROVIDER
from sms.errors import Trouble
from sms.models import SmsEvent, SmsMessage, SmsPause, SmsWorker, Status
from sms.wording import MANY, span, texts

# A worker updates `seen_at` every BEAT_SECONDS. A worker without an update for ALIVE_SECONDS counts as stopped.
BEAT_SECONDS = 5
ALIVE_SECONDS = 30
# A message that has been due for longer than this is late. A signal receiver that runs for longer is reported.
LATE_SECONDS = 60
# A transaction that is open for longer than this is reported. Until it ends, PostgreSQL cannot remove dead rows, and
# every query that claims messages has to skip those rows.
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
    """Return the workers that updated `seen_at` within the last ALIVE_SECONDS."""
    return list(SmsWorker.objects.filter(seen_at__gte=now - timedelta(seconds=ALIVE_SECONDS)).order_by("name"))


def waiting() -> int:
    """Return the number of queued messages, at most MANY."""
    return SmsMessage.objects.filter(status=Status.QUEUED).order_by()[:MANY].count()


def oldest_due(now: datetime, pauses: Sequence[SmsPause] = ()) -> datetime | None:
    """Return the earliest due time of the messages that could be sent now, or None if there is no such message.

    Messages that wait for a retry do not count, nor do messages of a kind that one of `pauses` stops.
    """
    paused = {pause.kind for pause in pauses}
    if SmsPause.ALL in paused:
        return None
    due = SmsMessage.objects.filter(status=Status.QUEUED, due_at__lte=now, retries=0).exclude(kind__in=paused)
    oldest: datetime | None = due.aggregate(oldest=Min("due_at"))["oldest"]
    return oldest


def last_attempts(count: int = 20) -> list[SmsEvent]:
    """Return the last `count` requests to DMark for a token or to send a message, newest first."""
    return list(SmsEvent.objects.filter(what="attempt", step__in=("send", "token")).order_by("-id")[:count])


def trouble(alive: Sequence[SmsWorker], attempts: Sequence[SmsEvent], now: datetime) -> tuple[Trouble, str]:
    """Return the trouble that keeps DMark from accepting messages, and the error text.

    Return (Trouble.NONE, "") if there is no trouble. The trouble that a running worker reports takes precedence over
    `attempts`. Only attempts of the last hour count. DMark itself is in trouble if at least 80% of them failed
    (minimum 3 attempts).
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


class HeldOpen(NamedTuple):
    """A database session whose transaction has been open for `seconds`."""

    pid: int
    user: str
    application: str
    state: str
    seconds: float


def held_open() -> HeldOpen | None:
    """Return the oldest transaction in this database that has been open for more than HELD_OPEN_SECONDS, or None.

    Always return None on SQLite. Transactions of other database users are visible only to a role with
    `pg_read_all_stats`.
    """
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute(_HELD_OPEN, [HELD_OPEN_SECONDS])
        row = cursor.fetchone()
    if row is None:
        return None
    pid, user, application, state, seconds = row
    return HeldOpen(pid, user or "an unknown user", application, state, float(seconds))


def rate_limited(now: datetime) -> int:
    """Return how often the rate limit delayed or stopped a message within the last day, at most MANY."""
    since = now - timedelta(days=1)
    return SmsEvent.objects.filter(step="throttle", at__gte=since).order_by()[:MANY].count()


class Reading(NamedTuple):
    """The state of sending, read at `time`.

    `waiting`: number of queued messages. `oldest`: due time of the oldest message that could be sent now. `last`: the
    newest requests to DMark.
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
        """Return how many seconds the oldest sendable message is overdue; 0.0 if there is none."""
        return (self.time - self.oldest).total_seconds() if self.oldest else 0.0


class Concern(NamedTuple):
    """A problem that keeps messages from being sent, or delays them.

    `name`: identifies the problem, and stays the same while the problem lasts. `level`: error or warning. `remedy`: the
    operator's next step.
    """

    name: str
    level: str
    text: str
    remedy: str


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
    """Yield the problems that keep messages from being sent or delay them. Yield nothing if sending works.

    If SMS is switched off, no other problem is reported.
    """
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
        pause.sentence,
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
