"""Time: this process's monotonic clock, this machine's clock, and the database's clock.

The clocks of machines disagree, so claims, leases and expiry are decided by the database's clock alone. SQL reads it
with `clock_timestamp()`. Python asks the database once a minute and adds the monotonic time since then. On SQLite the
database is a file of this machine: its functions `clock_timestamp` and `clock_after` are defined here, so that one SQL
text serves both databases.
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


class Clock:
    """The clocks of one process. The simulation replaces `current` by a clock in virtual time."""

    # The database's time, and the reading of `monotonic` at that moment.
    known: "tuple[datetime, float] | None" = None

    def monotonic(self) -> float:
        return _time.monotonic()

    def time(self) -> float:
        return _time.time()

    def utc(self) -> datetime:
        """This machine's time, aware."""
        return timezone.now()

    def of_sqlite(self) -> datetime:
        """Return the time that the SQL functions defined on SQLite use."""
        return timezone.now()

    def asks_database(self) -> bool:
        """False if the database is a file of this machine, so that this machine's clock is the database's."""
        return connection.vendor == "postgresql"


current = Clock()


def monotonic() -> float:
    return current.monotonic()


def time() -> float:
    return current.time()


def now(*, ask: bool = True) -> datetime:
    """Return the database's time, aware.

    With `ask=False` it is computed from what is known already, for a thread that must not use the database.
    """
    if not current.asks_database():
        return current.utc()
    known = current.known
    if known is None and not ask:
        return current.utc()
    if known is None or (ask and monotonic() - known[1] > _ASK_EVERY):
        before = monotonic()
        said = read()
        # The database read its clock about halfway through the round trip.
        current.known = known = (said, (before + monotonic()) / 2)
    return known[0] + timedelta(seconds=monotonic() - known[1])


def read() -> datetime:
    """Read the database's clock with a query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        said = cursor.fetchone()[0]
    return said if isinstance(said, datetime) else datetime.fromisoformat(said).replace(tzinfo=zones.utc)


def sql_now() -> str:
    """Return SQL for the database's time, as a subquery so that it is evaluated once per statement, not per row."""
    return "(SELECT clock_timestamp())"


def sql_after() -> str:
    """Return SQL for the database's time plus a number of seconds, which is passed as the statement's parameter."""
    return "clock_timestamp() + make_interval(secs => %s)" if connection.vendor == "postgresql" else "clock_after(%s)"


class Now(Func):
    """The database's time as a query expression, on SQLite with microseconds."""

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
