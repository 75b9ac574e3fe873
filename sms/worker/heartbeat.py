"""A worker's signs of life, which the console reads."""

import os
import socket
from datetime import datetime, timedelta

from django.utils import timezone

from sms.models import SmsWorker

_FORGET = timedelta(days=1)


def beat(claimer: str, started_at: datetime, sent: int, paused: str) -> None:
    """A worker's sign of life."""
    values = {"seen_at": timezone.now(), "sent": sent, "paused": paused}
    if not SmsWorker.objects.filter(claimer=claimer).update(**values):
        name = f"{socket.gethostname()}:{os.getpid()}"[:100]
        SmsWorker.objects.create(claimer=claimer, name=name, started_at=started_at, **values)


def stop_beating(claimer: str) -> None:
    SmsWorker.objects.filter(claimer=claimer).delete()


def forget_the_dead() -> None:
    SmsWorker.objects.filter(seen_at__lt=timezone.now() - _FORGET).delete()
