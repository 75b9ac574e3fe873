"""Django's PostgreSQL backend with a time limit on every wait, in processes that call `limit_waits`.

Only the processes of the site call `limit_waits`. Workers and commands have no such limits, because a migration or a
clean-up may need a long time.
"""

from django.db import connection

# Number of executions after which a connection prepares a statement on the server, which halves PostgreSQL's CPU time.
# PostgreSQL makes new plans after each ANALYZE, so the connections of workers, which live for days, do not keep plans
# that were made while a table was empty.
PREPARE_THRESHOLD = 2
# None during a migration: a prepared statement fails after the type of one of its columns has changed.
prepare_threshold: int | None = PREPARE_THRESHOLD
# `limit_waits` sets this to True in the processes of the site: their waits for the database are limited.
limited = False


def limit_waits() -> None:
    global limited
    limited = True


def migration_begins(**_kwargs: object) -> None:
    """Receive Django's signal `pre_migrate`: prepare no statements during the migration."""
    _prepare(None)


def migration_ends(**_kwargs: object) -> None:
    """Receive Django's signal `post_migrate`."""
    _prepare(PREPARE_THRESHOLD)


def _prepare(threshold: int | None) -> None:
    global prepare_threshold
    prepare_threshold = threshold
    if connection.connection is not None and connection.vendor == "postgresql":
        connection.connection.prepare_threshold = threshold
