"""The backend: time-outs that the server keeps, and a patience of our own for a server that keeps none.

A server that is stopped, or behind a network that swallows, ends nothing by itself. So this side stops listening, and
while nobody answers one thread at a time looks whether it is back: the others are told at once.
"""

import threading
import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from django.conf import settings
from django.db.backends.postgresql import base

from playmatatu import postgres

T = TypeVar("T")

# How long a connection that lay idle may take to show that it lives, and how long nobody asks again. Seconds.
_SIGN_OF_LIFE = 1.0
_REST = 1.0
# The server's own time-outs come first: what they say is clearer.
_GRACE = 1.0


class Hung(psycopg.OperationalError):
    """The server has the statement and does not answer."""


class Connection(psycopg.Connection[Any]):
    """Waits `patience` seconds for each answer, then is closed: its statement may still be running."""

    patience = 0.0

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        try:
            return super().wait(_bounded(gen, self.patience), *args, **kwargs)
        except Hung:
            self.close()
            _silence.note()
            raise


def _bounded(gen: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    """The conversation `gen`, whose driver comes back with nothing ready ten times a second."""
    end = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= end:
                raise Hung(f"The database has not answered for {seconds:g} seconds.")
            wanted = gen.send(ready)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


class _Silence:
    """Whether the server of this process did not answer lately."""

    def __init__(self) -> None:
        self._since_then = 0.0
        self._looking = threading.Lock()

    def note(self) -> None:
        self._since_then = time.monotonic()

    def end(self) -> None:
        self._since_then = 0.0

    def look(self) -> bool:
        """Whether this thread shall be the one to look; it calls `looked` afterwards."""
        return time.monotonic() - self._since_then >= _REST and self._looking.acquire(blocking=False)

    def looked(self) -> None:
        self._looking.release()

    def __bool__(self) -> bool:
        return self._since_then > 0.0


_silence = _Silence()


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if not postgres.limited:
            return super().get_new_connection(conn_params)
        if not _silence:
            return self._connect(conn_params)
        if not _silence.look():
            raise Hung("The database did not answer a moment ago.")
        try:
            connection = self._connect(conn_params)
        finally:
            _silence.looked()
        _silence.end()
        return connection

    def _connect(self, conn_params: dict[str, Any]) -> Any:
        try:
            connection = super().get_new_connection(conn_params)
        except psycopg.errors.ConnectionTimeout:
            _silence.note()
            raise
        # Django's wrapper takes no class for its connections.
        connection.__class__ = Connection
        connection.patience = settings.DATABASE_STATEMENT_TIMEOUT + _GRACE
        return connection

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
        connection: Any = self.connection
        if not isinstance(connection, Connection):
            return super().is_usable()
        patience, connection.patience = connection.patience, _SIGN_OF_LIFE
        try:
            return super().is_usable()
        finally:
            connection.patience = patience
