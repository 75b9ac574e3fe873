"""'Now' for claims, leases and schedules: the database's, which all machines share."""

from datetime import datetime, timezone

from django.db import connection


def now() -> datetime:
    """Aware, in UTC. SQLite has no clock but the machine's, and there all share that one."""
    if connection.vendor != "postgresql":
        return datetime.now(timezone.utc)
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        found: datetime = cursor.fetchone()[0]
    return found.astimezone(timezone.utc)
