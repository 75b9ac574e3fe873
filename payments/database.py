"""Functions about the database: its time, errors that mean that it is unavailable, and waiting for the disk.

PostgreSQL usually waits for the disk at each commit. It writes its log in order, so one wait also covers all earlier
commits. Therefore the handling of a callback waits only once, before the response is sent.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.backends.signals import connection_created
from django.db.models import BooleanField, Func, Model, QuerySet, TextField, Value
from django.utils import timezone

Row = TypeVar("Row", bound=Model)

# SQLSTATEs of temporary conditions for which psycopg raises InternalError: read-only server (25006),
# idle-in-transaction timeout (25P03), transaction timeout (25P04).
_UNAVAILABLE = frozenset({"25006", "25P03", "25P04"})
# Lock timeout and canceled statement. After these, and after class 40 (deadlock, serialization failure), the connection
# remains usable.
_CONNECTION_IS_GOOD = frozenset({"55P03", "57014"})


def close_if_unavailable(error: BaseException) -> bool:
    """Return True if `error` is temporary, for example an unavailable database or a deadlock.

    Also close this thread's connection if it may be broken, so that the next query can reach a new primary. Inside an
    atomic block, Django closes a broken connection at the end of the block.
    """
    if not isinstance(error, DatabaseError | InterfaceError):
        return False
    state = sqlstate(error)
    # The error "cached plan must not change result type": a migration changed a column after this connection had
    # prepared a statement.
    has_old_plan = state == "0A000" and "cached plan" in str(error)
    if not isinstance(error, OperationalError | InterfaceError) and state not in _UNAVAILABLE and not has_old_plan:
        return False
    if not connection.in_atomic_block and state not in _CONNECTION_IS_GOOD and not state.startswith("40"):
        connection.close()
    return True


def sqlstate(error: BaseException) -> str:
    """Return the five-character SQLSTATE of `error`, or "" if it has none."""
    return getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None) or ""


def not_locked(rows: "QuerySet[Row]", *, no_key: bool = True) -> "QuerySet[Row]":
    """Return a queryset that locks its rows and skips the rows that another transaction has locked.

    `no_key`: False if the caller deletes the rows, so that no other transaction can add a reference to one of them.
    """
    skip_locked = connection.features.has_select_for_update_skip_locked
    return rows.select_for_update(of=("self",), no_key=no_key, skip_locked=skip_locked)


def limit_idle_transactions() -> None:
    """Make PostgreSQL close a connection of this process if a transaction on it is idle for a minute.

    Otherwise the locks of a suspended or lost machine could last for hours. The limit applies to connections that are
    opened after this call.
    """
    connection_created.connect(_limit_idle_transactions, dispatch_uid="payments.database")


def _limit_idle_transactions(connection: Any, **_: object) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET idle_in_transaction_session_timeout = '1min'")


_clock: Callable[[], datetime] = timezone.now


def use_clock(clock: Callable[[], datetime]) -> None:
    """Set the clock that `now` reads. Without this call, `now` returns the time of this machine.

    The game passes a function that reads the database's clock, which is the same for all machines. The game takes its
    own times from that function too, so the times of both apps can be compared.
    """
    global _clock
    _clock = clock


def now() -> datetime:
    """Return the time in UTC. Claims and schedules use it."""
    return _clock()


# A column for a SELECT. If a query contains this column, its transaction commits without waiting for the disk.
NO_WAIT = Func(
    Value("synchronous_commit"),
    Value("off"),
    Value(value=True, output_field=BooleanField()),  # True: the setting applies until the end of the transaction.
    function="set_config",
    output_field=TextField(),
)
# NO_WAIT as SQL, for the RETURNING list of an INSERT.
NO_WAIT_SQL = "set_config('synchronous_commit', 'off', true)"


def wait_after_commit() -> None:
    """After this transaction has committed, wait until the commit is on disk and on the synchronous standbys."""
    if connection.vendor == "postgresql" and not any(call[1] is _wait for call in connection.run_on_commit):
        transaction.on_commit(_wait)


@contextmanager
def commit_follows() -> Iterator[None]:
    """Skip the wait of `wait_after_commit` in this block.

    Use this only if another commit, which waits for the disk, follows before the response.
    """
    connection._commit_follows = True  # type: ignore[attr-defined]
    try:
        yield
    finally:
        connection._commit_follows = False  # type: ignore[attr-defined]


def _wait() -> None:
    if not getattr(connection, "_commit_follows", False):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_logical_emit_message(true, 'payments', '')")
