"""Three clocks: the monotonic clock of this process, the clock of this machine, and the clock of the database.

Only the database's clock decides about claims, leases and expiry, because the clocks of several machines differ. `now`
reads the database's clock if the last reading is more than a minute old, and adds the monotonic time since the last
reading. All callers in a process share the last reading, so that times which are only milliseconds apart are in the
right order.
"""

import time as _time
from datetime import datetime, timedelta
from datetime import timezone as zones
from typing import Any

from django.db import connection
from django.db.backends.signals import connection_created
from django.db.models import DateTimeField, Func
from django.utils import timezone

_ASK_EVERY = 60.0
_BOOTTIME: int | None = getattr(_time, "CLOCK_BOOTTIME", None)


class Clock:
    """The clocks of one process. `tests/simulation` replaces `current` with a clock that runs in simulated time."""

    # The database's time at the last reading, and the value of `monotonic` at that moment.
    known: "tuple[datetime, float] | None" = None

    def monotonic(self) -> float:
        """Return a monotonic time in seconds.

        On Linux this clock also runs while the machine is suspended.
        """
        return _time.clock_gettime(_BOOTTIME) if _BOOTTIME is not None else _time.monotonic()

    def time(self) -> float:
        return _time.time()

    def utc(self) -> datetime:
        """Return this machine's time as an aware datetime."""
        return timezone.now()

    def of_sqlite(self) -> datetime:
        """Return the time that the SQL functions `clock_timestamp` and `clock_after` use on SQLite."""
        return timezone.now()

    def asks_database(self) -> bool:
        """Return True if `now` uses the database's clock, and False if it uses this machine's clock (on SQLite)."""
        return connection.vendor == "postgresql"


current = Clock()


def monotonic() -> float:
    return current.monotonic()


def time() -> float:
    return current.time()


def now(*, ask: bool = True, every: float = _ASK_EVERY) -> datetime:
    """Return the database's time as an aware datetime.

    `every`: after this many seconds, the database's clock is read again. With `ask=False`, no query is run: the time is
    computed from the last reading. If there was no reading yet, this machine's time is returned.
    """
    if not current.asks_database():
        return current.utc()
    known = current.known
    if known is None and not ask:
        return current.utc()
    if known is None or (ask and monotonic() - known[1] > every):
        connection.ensure_connection()  # The time to connect must not count as part of the round trip.
        before = monotonic()
        said = read()
        # Assume that the database read its clock halfway through the round trip.
        current.known = known = (said, (before + monotonic()) / 2)
    return known[0] + timedelta(seconds=monotonic() - known[1])


def read() -> datetime:
    """Read the database's clock with a query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        said = cursor.fetchone()[0]
    return said if isinstance(said, datetime) else datetime.fromisoformat(said).replace(tzinfo=zones.utc)


def sql_now() -> str:
    """Return SQL for the database's time.

    It is a subquery, so the database reads its clock once per statement and not once per row.
    """
    return "(SELECT clock_timestamp())"


def sql_after() -> str:
    """Return SQL for the database's time plus a number of seconds. The number is a parameter of the statement."""
    return "clock_timestamp() + make_interval(secs => %s)" if connection.vendor == "postgresql" else "clock_after(%s)"


class Now(Func):
    """A query expression for the database's time, with microseconds."""

    template = "clock_timestamp()"
    output_field = DateTimeField()


def _define_functions(connection: Any, **_: object) -> None:
    if connection.vendor != "sqlite":
        return

    def adapted(seconds: float = 0.0) -> str:
        return str(connection.ops.adapt_datetimefield_value(current.of_sqlite() + timedelta(seconds=seconds)))

    connection.connection.create_function("clock_timestamp", 0, adapted)
    connection.connection.create_function("clock_after", 1, adapted)


connection_created.connect(_define_functions, dispatch_uid="sms.clock")
