"""Waits for the disk. PostgreSQL usually waits at each commit; with these functions a callback waits once, at its end.

PostgreSQL's log is written in order. So a commit that waits also covers all commits before it, and everything that
another process did after seeing them. If the server crashes before the wait, nobody was told that the payment is
recorded: the provider repeats its callback, or a status poll settles the payment.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction
from django.db.models import BooleanField, Func, TextField, Value

# For a SELECT: the transaction commits without waiting.
NO_WAIT = Func(
    Value("synchronous_commit"),
    Value("off"),
    Value(value=True, output_field=BooleanField()),  # The setting applies until the end of the transaction.
    function="set_config",
    output_field=TextField(),
)
# The same for the RETURNING list of an INSERT.
NO_WAIT_SQL = "set_config('synchronous_commit', 'off', true)"


def wait_after_commit() -> None:
    """Wait for the disk, and for synchronous standbys, after this transaction has committed without waiting."""
    if connection.vendor == "postgresql" and not any(call[1] is _wait for call in connection.run_on_commit):
        transaction.on_commit(_wait)


@contextmanager
def commit_follows() -> Iterator[None]:
    """Leave out the wait of `wait_after_commit`, because the caller commits another change before it answers."""
    connection._commit_follows = True  # type: ignore[attr-defined]
    try:
        yield
    finally:
        connection._commit_follows = False  # type: ignore[attr-defined]


def _wait() -> None:
    if not getattr(connection, "_commit_follows", False):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_logical_emit_message(true, 'payments', '')")
