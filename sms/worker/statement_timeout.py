"""A timeout for SQL statements: close the database connection if the database does not respond.

A suspended database server keeps its connections open, so a statement could wait forever. A thread of this process
therefore shuts the socket down. The statement then fails as if the server had ended.
"""

import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from django.db import connection

from sms import clock, runtime

logger = logging.getLogger("sms.worker")

_LOOK_EVERY = 1.0


class StatementTimeout:
    """Watches the database connection of the thread that calls `watch`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None
        self._connection: Any = None
        self._stopped = runtime.current.event()

    def watch(self) -> runtime.Thread:
        # The wrapper stays in place when Django reconnects.
        connection.execute_wrappers.append(self._execute)
        return runtime.current.start(self._run, "sms-statement-timeout")

    def stop(self) -> None:
        self._stopped.set()
        connection.execute_wrappers.remove(self._execute)

    def _execute(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        self._connection = context["connection"]
        self._since = clock.monotonic()
        try:
            return execute(sql, params, many, context)
        finally:
            self._since = None

    def _run(self) -> None:
        while not self._stopped.wait(_LOOK_EVERY):
            since = self._since
            if since is not None and clock.monotonic() > since + self._seconds:
                self._since = None
                logger.error(
                    "sms.database_hangs: no answer for %g s, closing the connection",
                    self._seconds,
                    extra={"event": "sms.database_hangs"},
                )
                try:
                    _shut_down(self._connection)
                except Exception:
                    logger.exception("sms.worker_error: the thread continues", extra={"event": "sms.worker_error"})


def _shut_down(connection: Any) -> None:
    raw = connection.connection
    if connection.vendor == "postgresql" and raw is not None:
        with socket.socket(fileno=os.dup(raw.fileno())) as copy:
            copy.shutdown(socket.SHUT_RDWR)
