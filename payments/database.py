"""Decide whether a database error means "the database is unavailable". `sms/database.py` is the same file."""

from django.db import DatabaseError, InterfaceError, OperationalError, connection

# Temporary conditions that psycopg raises as InternalError: read-only server, idle-in-transaction timeout, transaction
# timeout.
_UNAVAILABLE = frozenset({"25006", "25P03", "25P04"})
# SQLSTATEs after which the connection is usable: lock timeout, canceled statement. Class 40 (deadlock, serialization
# failure) is usable too, and is checked by its prefix below.
_CONNECTION_IS_GOOD = frozenset({"55P03", "57014"})


def close_if_unavailable(error: BaseException) -> bool:
    """Return True if `error` says that the database cannot be used now and that a later try may succeed.

    Then close this thread's connection, so that the next query connects again: the server may have been demoted to
    a read-only standby. Inside an atomic block the connection is left to Django, which closes it if it is broken.
    """
    if not isinstance(error, DatabaseError | InterfaceError):
        return False
    state = sqlstate(error)
    if not isinstance(error, OperationalError | InterfaceError) and state not in _UNAVAILABLE:
        return False
    if not connection.in_atomic_block and state not in _CONNECTION_IS_GOOD and not state.startswith("40"):
        connection.close()
    return True


def sqlstate(error: BaseException) -> str:
    """Return PostgreSQL's five-character code of `error`, or "" if it has none."""
    return getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None) or ""
