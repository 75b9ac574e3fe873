"""The database's time, which is the same for all machines. It is used for claims, leases and schedules."""

import time
from datetime import datetime, timedelta, timezone

from django.db import connection

# Seconds until the database is asked for the time again. In between, this process's monotonic clock is added.
_ASK_EVERY = 5.0
# The last time that the database returned, and the monotonic clock at that moment. Empty before the first query.
_known: list[tuple[datetime, float]] = []


def now() -> datetime:
    """Return the database's time as an aware datetime in UTC. On SQLite this is the machine's time."""
    if connection.vendor != "postgresql":
        return datetime.now(timezone.utc)
    if not _known or time.monotonic() - _known[0][1] > _ASK_EVERY:
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            found: datetime = cursor.fetchone()[0]
        _known[:] = [(found.astimezone(timezone.utc), time.monotonic())]
    found, at = _known[0]
    return found + timedelta(seconds=time.monotonic() - at)
