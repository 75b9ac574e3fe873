"""The time that decides what is over: the database's, since machines that share it may disagree by hours.

Remembered for a moment, because one page asks for it many times.
"""

import time
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection
from django.utils import timezone


class _Reading(NamedTuple):
    said: datetime
    at: float


# Read afresh after so many seconds; in between this process's steady clock counts on.
_KEEP_SECONDS = 5.0
_last: list[_Reading] = []


def now() -> datetime:
    """Aware UTC. A database that is a file has this machine's clock."""
    if connection.vendor != "postgresql":
        return timezone.now()
    if not _last or time.monotonic() - _last[0].at > _KEEP_SECONDS:
        with connection.cursor() as cursor:
            cursor.execute("SELECT CLOCK_TIMESTAMP()")
            _last[:] = [_Reading(cursor.fetchone()[0], time.monotonic())]
    reading = _last[0]
    return reading.said + timedelta(seconds=time.monotonic() - reading.at)
