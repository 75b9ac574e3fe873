"""A worker's signs of life, which the console reads."""

import os
import socket
from datetime import datetime, timedelta
from typing import NamedTuple

from sms import clock
from sms.errors import Trouble
from sms.models import SmsWorker

_FORGET = timedelta(days=1)


class Flight(NamedTuple):
    """How many texts are with DMark, and of the longest there: for how many seconds, and at which step."""

    texts: int = 0
    seconds: float = 0.0
    step: str = ""


def beat(
    claimer: str,
    started_at: datetime,
    sent: int,
    trouble: Trouble = Trouble.NONE,
    paused: str = "",
    flight: Flight = Flight(),  # noqa: B008 - it cannot change
) -> None:
    """A worker's sign of life; `trouble` and `paused`: why it does not send."""
    now = clock.now()
    values = {
        "seen_at": now,
        "sent": sent,
        "trouble": trouble.value,
        "paused": paused,
        "in_flight": flight.texts,
        "longest_since": now - timedelta(seconds=flight.seconds) if flight.texts else None,
        "longest_step": flight.step,
    }
    if not SmsWorker.objects.filter(claimer=claimer).update(**values):
        name = f"{socket.gethostname()}:{os.getpid()}"[:100]
        SmsWorker.objects.create(claimer=claimer, name=name, started_at=started_at, **values)


def stop_beating(claimer: str) -> None:
    SmsWorker.objects.filter(claimer=claimer).delete()


def forget_the_dead() -> None:
    SmsWorker.objects.filter(seen_at__lt=clock.now() - _FORGET).delete()
