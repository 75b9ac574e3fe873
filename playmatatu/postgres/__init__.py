"""Django's PostgreSQL backend with a time limit on every wait.

Only the site turns these limits on (`limit_waits`), because a migration or a clean-up may take long.
"""

from django.db import connection

# A connection prepares a statement on the server after this many executions. This halves PostgreSQL's CPU time.
PREPARE_THRESHOLD = 2
# None during a migration, because a prepared statement fails after the type of one of its columns has changed.
prepare_threshold: int | None = PREPARE_THRESHOLD
# True in the processes of the site, where waits for the database are limited.
limited = False


def limit_waits() -> None:
    global limited
    limited = True


def migration_begins(**_kwargs: object) -> None:
    """Stop preparing statements. Django sends `pre_migrate` before a migration."""
    _prepare(None)


def migration_ends(**_kwargs: object) -> None:
    """Prepare statements again. Django sends `post_migrate` after a migration."""
    _prepare(PREPARE_THRESHOLD)


def _prepare(threshold: int | None) -> None:
    global prepare_threshold
    prepare_threshold = threshold
    if connection.connection is not None and connection.vendor == "postgresql":
        connection.connection.prepare_threshold = threshold
