"""The database's time, which all machines share: for claims, leases and schedules."""

import time
from datetime import datetime, timedelta, timezone

from django.db import connection

# After this long the database is asked again; in between this process's monotonic clock counts on.
_ASK_EVERY = 5.0
# The database's time, and the monotonic clock at that moment.
_known: list[tuple[datetime, float]] = []


def now() -> datetime:
    """Return the database's time, aware, in UTC. SQLite has no clock but the machine's."""
    if connection.vendor != "postgresql":
        return datetime.now(timezone.utc)
    if not _known or time.monotonic() - _known[0][1] > _ASK_EVERY:
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            found: datetime = cursor.fetchone()[0]
        _known[:] = [(found.astimezone(timezone.utc), time.monotonic())]
    found, at = _known[0]
    return found + timedelta(seconds=time.monotonic() - at)
