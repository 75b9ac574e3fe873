"""A worker's signs of life, which the console reads."""

import os
import socket
from datetime import datetime, timedelta

from sms import clock
from sms.errors import Trouble
from sms.models import SmsWorker

_FORGET = timedelta(days=1)


def beat(claimer: str, started_at: datetime, sent: int, trouble: Trouble = Trouble.NONE, paused: str = "") -> None:
    """A worker's sign of life; `trouble` and `paused`: why it does not send."""
    values = {"seen_at": clock.now(), "sent": sent, "trouble": trouble.value, "paused": paused}
    if not SmsWorker.objects.filter(claimer=claimer).update(**values):
        name = f"{socket.gethostname()}:{os.getpid()}"[:100]
        SmsWorker.objects.create(claimer=claimer, name=name, started_at=started_at, **values)


def stop_beating(claimer: str) -> None:
    SmsWorker.objects.filter(claimer=claimer).delete()


def forget_the_dead() -> None:
    SmsWorker.objects.filter(seen_at__lt=clock.now() - _FORGET).delete()
