"""Recognize database errors that mean that the database is unavailable. `payments/database.py` has a copy of this."""

from django.db import DatabaseError, InterfaceError, OperationalError, connection

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
