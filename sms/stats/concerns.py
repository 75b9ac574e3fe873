"""What keeps texts from leaving at this moment: the same for the banners, the alerts and `check_sending`."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from sms import conf
from sms.errors import Trouble
from sms.models import SmsEvent, SmsPause, SmsWorker
from sms.stats import pulse
from sms.stats.wording import amount, span


class Concern(NamedTuple):
    """`name`: the same for as long as it lasts; `level`: error or warning; `remedy`: what to do about it."""

    name: str
    level: str
    text: str
    remedy: str


class Reading(NamedTuple):
    """What was read at one moment."""

    config: conf.Config
    time: datetime
    holds: list[SmsPause]
    workers: list[SmsWorker]
    waiting: int
    oldest: datetime | None
    last: list[SmsEvent]

    @property
    def late(self) -> float:
        """Seconds that the oldest text which could have gone waits."""
        return (self.time - self.oldest).total_seconds() if self.oldest else 0.0


def read(now: datetime) -> Reading:
    holds = list(SmsPause.objects.order_by("since"))
    return Reading(
        config=conf.current(),
        time=now,
        holds=holds,
        workers=pulse.workers(now),
        waiting=pulse.waiting(),
        oldest=pulse.oldest_due(now, holds),
        last=pulse.last_attempts(),
    )


def found(reading: Reading) -> Iterator[Concern]:
    """The gravest first; none when texts leave."""
    config = reading.config
    if not config.enabled:
        yield Concern(
            "off",
            "error",
            "SMS is off: no text leaves.",
            "Set SMS_SERVICE_BASE_URL, SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD; then send it again.",
        )
        return
    yield from map(_pause, reading.holds)
    if config.delivery == "worker" and not reading.workers:
        yield Concern(
            "no_worker",
            "error" if reading.waiting else "warning",
            f"No worker is running; {amount(reading.waiting)} waiting.",
            "Start manage.py sms_worker, and see that your service manager restarts it.",
        )
    trouble = _trouble(reading)
    if trouble:
        yield trouble
    if config.delivery == "worker" and reading.workers and reading.late > pulse.LATE_SECONDS and not trouble:
        yield Concern(
            "queue",
            "warning",
            f"The queue is growing: {amount(reading.waiting)} waiting, the oldest for {span(reading.late)}.",
            "Start one more manage.py sms_worker; any number may share the table.",
        )
    behind = max((worker.receivers_behind for worker in reading.workers), default=0)
    if behind > pulse.LATE_SECONDS:
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
            f"{amount(reading.waiting)} left behind by a process that died, or by a pause.",
            "Run manage.py sms_worker --once; a cron line does it by itself.",
        )


def _pause(hold: SmsPause) -> Concern:
    return Concern(
        f"paused:{hold.kind}",
        "error" if hold.kind == SmsPause.ALL else "warning",
        f"Sending of {hold.what} is paused by {hold.actor or 'somebody unknown'}: {hold.reason}",
        "Resume it when that is mended; what waits past its time is not sent any more.",
    )


def _trouble(reading: Reading) -> Concern | None:
    """What DMark's last answers, or a worker that has paused, say of credentials, account and provider."""
    kind, words = pulse.trouble(reading.workers, reading.last, reading.time)
    if kind == Trouble.CREDENTIALS:
        return Concern(
            kind.value,
            "error",
            f"Nothing is sent: {words}",
            "Correct SMS_SERVICE_BASE_URL, SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD and restart; what waits is "
            "sent then.",
        )
    if kind == Trouble.ACCOUNT:
        return Concern(
            kind.value,
            "error",
            f"DMark refuses the account, so nothing is sent: {words}",
            "Top up or call DMark. The worker tries by itself and sends what waits; inline, send again what failed.",
        )
    if kind == Trouble.PROVIDER:
        return Concern(
            kind.value,
            "error",
            f"DMark is in trouble: {words}",
            "The worker goes on by itself when DMark is back; inline, send again what failed. If it lasts, call DMark.",
        )
    return None
