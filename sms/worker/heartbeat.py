"""Write the worker's row in the database: its heartbeat and current activity, which the admin console shows."""

import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta

from sms import clock
from sms.errors import Trouble
from sms.models import SmsWorker

_FORGET = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Activity:
    """The current activity of a worker.

    `in_flight`: number of messages being sent. `longest` and `step`: seconds and current step of the oldest of these
    messages. `trouble` and `reason`: why nothing is sent. `receivers_behind`: seconds by which signal receivers are
    late.
    """

    sent: int = 0
    trouble: Trouble = Trouble.NONE
    reason: str = ""
    in_flight: int = 0
    longest: float = 0.0
    step: str = ""
    receivers_behind: float = 0.0


def beat(claimer: str, started_at: datetime, activity: Activity) -> None:
    now = clock.now()
    values = {
        "seen_at": now,
        "sent": activity.sent,
        "trouble": activity.trouble.value,
        "paused": activity.reason,
        "in_flight": activity.in_flight,
        "longest_since": now - timedelta(seconds=activity.longest) if activity.in_flight else None,
        "longest_step": activity.step,
        "receivers_behind": round(activity.receivers_behind),
    }
    if not SmsWorker.objects.filter(claimer=claimer).update(**values):
        name = f"{socket.gethostname()}:{os.getpid()}"[:100]
        SmsWorker.objects.create(claimer=claimer, name=name, started_at=started_at, **values)


def stop_beating(claimer: str) -> None:
    SmsWorker.objects.filter(claimer=claimer).delete()


def forget_silent_workers() -> None:
    SmsWorker.objects.filter(seen_at__lt=clock.now() - _FORGET).delete()
