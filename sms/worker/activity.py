"""Describe what the worker is doing: in its database row, and on the terminal after the signal SIGUSR1."""

import os
import socket
from datetime import datetime, timedelta

from sms import clock
from sms.models import SmsWorker
from sms.text.redaction import mask_phone
from sms.worker.breaker import Breaker
from sms.worker.engine.loop import WAITING
from sms.worker.recorder import Recorder

_SHOWN = 20


def beat(claimer: str, started_at: datetime, **activity: object) -> None:
    """Write the worker's row. `activity`: columns that describe what the worker is doing."""
    values = {"seen_at": clock.now(), **activity}
    if not SmsWorker.objects.filter(claimer=claimer).update(**values):
        name = f"{socket.gethostname()}:{os.getpid()}"[:100]
        SmsWorker.objects.create(claimer=claimer, name=name, started_at=started_at, **values)


def columns(recorder: Recorder, breaker: Breaker) -> dict[str, object]:
    """Return the values for the worker's database row."""
    in_flight = [job for job in recorder.in_hand.values() if job.in_flight]
    oldest = min(in_flight, key=lambda job: job.begun_at, default=None)
    return {
        "sent": recorder.sent,
        "trouble": breaker.trouble.value,
        "paused": breaker.reason,
        "in_flight": len(in_flight),
        "longest_since": clock.now() - timedelta(seconds=clock.monotonic() - oldest.begun_at) if oldest else None,
        "longest_step": oldest.step if oldest else "",
        "receivers_behind": round(recorder.signals.behind()),
    }


def describe(recorder: Recorder) -> str:
    """Return a report for operators, with one line per message. At most 20 messages are listed.

    A line shows the message's id, its current step and the seconds since this step began. The longest wait comes first.
    Messages whose sending has not begun come last.
    """
    now = clock.monotonic()
    jobs = sorted(recorder.in_hand.values(), key=lambda job: (job.step == WAITING, job.since))
    lines = [f"{len(jobs)} in hand, {sum(job.step == WAITING for job in jobs)} of them not begun"]
    for job in jobs[:_SHOWN]:
        message = job.message
        name = f"{message.pk} ({message.kind or 'plain'}) to {mask_phone(message.phone)}"
        lines.append(f"  {name}: {job.step}, for {now - job.since:.1f} s")
    return "\n".join(lines) + "\n"
