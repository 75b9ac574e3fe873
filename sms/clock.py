"""The database's clock: machines disagree, and what decides about leases, claims and expiry must be one clock.

SQL says `now()` by itself; Python asks the database once a minute, and adds what has passed since.
"""

import threading
import time
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

_ASK_EVERY = 60.0

_lock = threading.Lock()
# The database's time, and the reading of this process' monotonic clock at that moment.
_known: "tuple[datetime, float] | None" = None


def now(*, ask: bool = True) -> datetime:
    """The database's time, aware; where the database is a file of this machine, the machine's own.

    Without `ask` from what is known already: for a thread that must not touch the database.
    """
    global _known
    if connection.vendor != "postgresql":
        return timezone.now()
    known = _known
    if known is None and not ask:
        return timezone.now()
    if known is None or (ask and time.monotonic() - known[1] > _ASK_EVERY):
        with connection.cursor() as cursor:
            before = time.monotonic()
            cursor.execute("SELECT clock_timestamp()")
            said = cursor.fetchone()[0]
            # Half of the way there and back has passed since it looked.
            known = (said, (before + time.monotonic()) / 2)
        with _lock:
            _known = known
    return known[0] + timedelta(seconds=time.monotonic() - known[1])


def sql_now() -> str:
    """The same in a statement of ours; SQLite's own `now` has no microseconds."""
    return "clock_timestamp()" if connection.vendor == "postgresql" else f"'{_adapted()}'"


def _adapted() -> str:
    return str(connection.ops.adapt_datetimefield_value(timezone.now()))
