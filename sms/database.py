"""Decide if a database error means that the database is unavailable. `payments/database.py` has the same code."""

from django.db import DatabaseError, InterfaceError, OperationalError, connection

# SQLSTATEs of temporary conditions that psycopg raises as InternalError: read-only server, idle-in-transaction timeout,
# transaction timeout.
_UNAVAILABLE = frozenset({"25006", "25P03", "25P04"})
# SQLSTATEs after which the connection is usable: lock timeout, canceled statement. Class 40 (deadlock, serialization
# failure) is usable too, and is checked by its prefix below.
_CONNECTION_IS_GOOD = frozenset({"55P03", "57014"})


def close_if_unavailable(error: BaseException) -> bool:
    """Return True if `error` means that the database is unavailable now and that a later attempt may succeed.

    Also close this thread's connection unless it is still usable, so that the next query connects again: the server may
    have become a read-only standby. Inside an atomic block, Django closes the connection itself if it is broken.
    """
    if not isinstance(error, DatabaseError | InterfaceError):
        return False
    state = sqlstate(error)
    # A migration has changed a column after this connection prepared its statements.
    has_old_plan = state == "0A000" and "cached plan" in str(error)
    if not isinstance(error, OperationalError | InterfaceError) and state not in _UNAVAILABLE and not has_old_plan:
        return False
    if not connection.in_atomic_block and state not in _CONNECTION_IS_GOOD and not state.startswith("40"):
        connection.close()
    return True


def sqlstate(error: BaseException) -> str:
    """Return the five-character SQLSTATE of `error`, or "" if it has none."""
    return getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None) or ""
