"""Write the worker's database row: the time of its heartbeat, and its activity for the admin."""

import os
import socket
from datetime import datetime, timedelta

from sms import clock
from sms.models import SmsWorker

_FORGET = timedelta(days=1)


def beat(claimer: str, started_at: datetime, **activity: object) -> None:
    """Write the worker's row. `activity`: columns that describe what the worker is doing."""
    values = {"seen_at": clock.now(), **activity}
    if not SmsWorker.objects.filter(claimer=claimer).update(**values):
        name = f"{socket.gethostname()}:{os.getpid()}"[:100]
        SmsWorker.objects.create(claimer=claimer, name=name, started_at=started_at, **values)


def stop_beating(claimer: str) -> None:
    SmsWorker.objects.filter(claimer=claimer).delete()


def forget_silent_workers() -> None:
    SmsWorker.objects.filter(seen_at__lt=clock.now() - _FORGET).delete()
