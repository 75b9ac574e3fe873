"""The database backend, with time limits for a PostgreSQL server that is overloaded, locked or unresponsive.

- PostgreSQL's own timeouts limit slow statements, locked rows and idle transactions (`init_connection_state`).
- TCP's timeouts limit the wait for a machine or network that has vanished (settings.py).
- `Connection` limits each wait for a response, for example from a suspended process or a frozen disk.

While the server is unresponsive, one thread at a time tries to connect. Other threads that need a new connection raise
`Unresponsive` at once, so that the site still answers requests.
"""

import math
import select
import threading
import time
from collections.abc import Generator
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any, TypeVar

import psycopg
from django.conf import settings
from django.db.backends.postgresql import base
from django.db.backends.postgresql.psycopg_any import BaseTzLoader
from django.db.backends.utils import debug_transaction

from playmatatu import postgres

T = TypeVar("T")

# Time limit in seconds for the check of an idle connection.
_CHECK_SECONDS = 1.0
# If a check succeeded less than this many seconds ago, the connection is usually not checked again.
_CHECK_EVERY = 1.0
# Seconds between two attempts to connect to a PostgreSQL server that does not respond.
_RETRY_SECONDS = 1.0
# Our own limit for a statement is this many seconds longer than PostgreSQL's statement timeout, because PostgreSQL's
# error is more informative and must come first.
_GRACE_SECONDS = 1.0


class Unresponsive(psycopg.OperationalError):
    """Raised if the database server does not respond in time, or has just failed to respond to another thread."""


class Connection(psycopg.Connection[Any]):
    """A connection that waits at most `longest_wait` seconds for each response.

    After that time the connection is closed, because its statement may still be running.
    """

    longest_wait = math.inf

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        if self.longest_wait == math.inf:
            return super().wait(gen, *args, **kwargs)
        try:
            return super().wait(_bounded(gen, self.longest_wait), *args, **kwargs)
        except Unresponsive:
            self.close()
            _server.set_unresponsive()
            raise


def _bounded(gen: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    """Run psycopg's generator `gen`. Raise Unresponsive if it is still waiting after `seconds`."""
    end = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= end:
                raise Unresponsive(f"The database has not responded for {seconds:g} seconds.")
            wanted = gen.send(ready)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


class TimeLoader(BaseTzLoader):  # type: ignore[misc]
    """Convert times from PostgreSQL to datetimes in UTC, 20 times as fast as Django's loader."""

    timezone = timezone.utc

    def load(self, data: Any) -> datetime:
        try:
            return datetime.fromisoformat(bytes(data).decode())
        except ValueError:  # Python 3.10 cannot parse PostgreSQL's time zone offset.
            return super().load(data)  # type: ignore[no-any-return]


class _Server:
    """The state (responsive or unresponsive) of the database server, shared by all threads."""

    def __init__(self) -> None:
        self._unresponsive_at: float | None = None
        self._connecting = threading.Lock()

    @property
    def is_unresponsive(self) -> bool:
        return self._unresponsive_at is not None

    def set_unresponsive(self) -> None:
        self._unresponsive_at = time.monotonic()

    def set_responsive(self) -> None:
        self._unresponsive_at = None

    def begin_attempt(self) -> bool:
        """Return True if this thread may try to connect. If so, the thread must call `end_attempt` afterwards."""
        at = self._unresponsive_at or 0.0
        return time.monotonic() - at >= _RETRY_SECONDS and self._connecting.acquire(blocking=False)

    def end_attempt(self) -> None:
        self._connecting.release()


_server = _Server()


class DatabaseWrapper(base.DatabaseWrapper):
    # Django calls `self.Database.connect` to connect.
    Database = SimpleNamespace(**{**vars(psycopg), "connect": Connection.connect})  # type: ignore[assignment]
    # Monotonic time of the last successful check of this connection.
    _checked_at = -math.inf
    # A savepoint of this transaction that is no longer needed, but not yet released.
    _unneeded = ""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self._unneeded = ""
        connection = (
            self._limited_connection(conn_params) if postgres.limited else super().get_new_connection(conn_params)
        )
        connection.prepare_threshold = postgres.prepare_threshold
        if self.timezone == timezone.utc:
            connection.adapters.register_loader("timestamptz", TimeLoader)
        return connection

    def _limited_connection(self, conn_params: dict[str, Any]) -> Any:
        if not _server.is_unresponsive:
            return self._connect(conn_params)
        if not _server.begin_attempt():
            raise Unresponsive("The database did not respond a moment ago.")
        try:
            connection = self._connect(conn_params)
        finally:
            _server.end_attempt()
        _server.set_responsive()
        return connection

    def _connect(self, conn_params: dict[str, Any]) -> Any:
        try:
            connection = super().get_new_connection(conn_params)
        except psycopg.errors.ConnectionTimeout:
            _server.set_unresponsive()
            raise
        connection.longest_wait = settings.DATABASE_STATEMENT_TIMEOUT + _GRACE_SECONDS
        return connection

    def _savepoint(self, sid: str) -> None:
        """Create a savepoint, and in the same round trip release an earlier one that is no longer needed."""
        before, self._unneeded = self._unneeded, ""
        release = f"{self.ops.savepoint_commit_sql(before)}; " if before else ""
        self._execute(release + self.ops.savepoint_create_sql(sid))

    def _savepoint_commit(self, sid: str) -> None:
        self._unneeded = sid

    def _savepoint_rollback(self, sid: str) -> None:
        self._unneeded = ""
        self._execute(self.ops.savepoint_rollback_sql(sid))

    def _execute(self, sql: str) -> None:
        with debug_transaction(self, sql), self.wrap_database_errors:
            self.connection.execute(sql, prepare=False)

    def commit(self) -> None:
        self._unneeded = ""
        super().commit()

    def rollback(self) -> None:
        self._unneeded = ""
        super().rollback()

    def init_connection_state(self) -> None:
        super().init_connection_state()
        if postgres.limited:
            limits = {
                "statement_timeout": settings.DATABASE_STATEMENT_TIMEOUT,
                "lock_timeout": settings.DATABASE_LOCK_TIMEOUT,
                "idle_in_transaction_session_timeout": settings.DATABASE_IDLE_TIMEOUT,
            }
            with self.cursor() as cursor:
                cursor.execute(
                    "SELECT " + ", ".join(["set_config(%s, %s, false)"] * len(limits)),
                    [part for name, seconds in limits.items() for part in (name, f"{round(seconds * 1000)}ms")],
                )

    def is_usable(self) -> bool:
        """Return True if the connection works.

        Run no query if a check succeeded in the last second, no error occurred since and no data is unread.
        """
        if not self.errors_occurred and time.monotonic() - self._checked_at < _CHECK_EVERY and self._is_quiet():
            return True
        usable = self._answers()
        self._checked_at = time.monotonic() if usable else -math.inf
        return usable

    def _is_quiet(self) -> bool:
        """Return True if the connection is open and has no unread data."""
        if self.connection is None or self.connection.closed:
            return False
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN)
        return not poll.poll(0)

    def _answers(self) -> bool:
        if self.connection is None or self.connection.longest_wait == math.inf:
            return super().is_usable()
        longest, self.connection.longest_wait = self.connection.longest_wait, _CHECK_SECONDS
        try:
            return super().is_usable()
        finally:
            self.connection.longest_wait = longest
