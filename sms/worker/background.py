"""Background threads: one sends Django signals, one runs periodic tasks, one ends SQL statements that hang."""

import math
import os
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

from django.db import connection

from sms import clock, runtime
from sms.database import close_if_unavailable
from sms.dlr import polling
from sms.errors import ProviderError
from sms.logs import get_logger
from sms.sending.results import PendingSignals, send_signals
from sms.worker import maintenance
from sms.worker.breaker import Breaker
from sms.worker.listener import PROBE_SECONDS, Listener

logger = get_logger("sms.worker")

_LOOK_EVERY = _LAST_SECONDS = 1.0
# Longest time in seconds for all polls of one maintenance run, and for each SQL statement of the maintenance thread.
_POLL_SECONDS = 60.0


class SignalSender:
    """A thread that sends Django signals. A receiver that hangs delays other receivers, but no messages."""

    def __init__(self) -> None:
        self._pending: Any = runtime.current.queue()
        self._thread: runtime.Thread | None = None
        # The time (monotonic) at which the current batch of signals was queued. None if no signals are being sent.
        self._since: float | None = None

    def send(self, signals: PendingSignals) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = runtime.current.start(self._run, "sms-signals")
        self._pending.put((clock.monotonic(), signals))

    def behind(self) -> float:
        """Return the seconds since the current batch of signals was queued, or 0 if no signals are being sent."""
        since = self._since
        return 0.0 if since is None else clock.monotonic() - since

    def finish(self, seconds: float) -> bool:
        """Send the remaining signals and end the thread. Return False if that takes longer than `seconds`."""
        if self._thread is None:
            return True
        self._pending.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (batch := self._pending.get()) is not None:
            self._since, signals = batch
            try:
                send_signals(signals)
            # After an error, only this batch of signals is lost. The results of the messages are already stored.
            except Exception:
                logger.exception("sms.worker_error: the thread continues")
                connection.close()
            self._since = None
        connection.close()


class Periodic:
    """A thread that runs maintenance, polls for delivery reports, tests the listener, and applies pauses to the queue.

    `every`: seconds between runs of maintenance.
    """

    def __init__(self, breaker: Breaker, listener: Listener, stopping: Any, every: float) -> None:
        self._breaker, self._listener, self._stopping, self._every = breaker, listener, stopping, every

    def start(self) -> runtime.Thread:
        return runtime.current.start(self._run, "sms-maintenance")

    def _run(self) -> None:
        statement_timeout = StatementTimeout(_POLL_SECONDS)
        statement_timeout.watch()
        next_time, pause = clock.monotonic() + self._every, min(self._every, 1.0)
        while not self._stopping.wait(pause):
            pause = min(self._every, PROBE_SECONDS)
            try:
                try:
                    with closing(connection):
                        self._listener.probe()
                        if clock.monotonic() >= next_time:
                            next_time = clock.monotonic() + self._every
                            maintenance.run()
                            if not self._breaker.is_open:
                                self._poll(clock.monotonic() + _POLL_SECONDS)
                finally:  # Apply the pauses to the queue even if maintenance or the polls have failed.
                    with closing(connection):
                        maintenance.park()
            except ProviderError as error:
                logger.warning("sms.poll_given_up: polling for delivery reports failed: %s", error)
            except Exception as error:
                if close_if_unavailable(error):
                    logger.error("sms.database_lost: %s; maintenance is retried later", type(error).__name__)
                else:
                    logger.exception("sms.housekeeping_failed: maintenance is retried later")
        statement_timeout.stop()

    def _poll(self, end: float) -> None:
        polling.poll(limit=100, stopping=lambda: self._stopping.is_set() or clock.monotonic() >= end)


class StatementTimeout:
    """Closes the connection of the thread that called `watch` if a statement takes longer than `seconds`.

    After `end` (monotonic) the limit is one second.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.end = math.inf
        self._since: float | None = None
        self._connection: Any = None
        self._stopped = runtime.current.event()

    def watch(self) -> runtime.Thread:
        # The wrapper remains when Django reconnects.
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
            since, now = self._since, clock.monotonic()
            if since is not None and now > min(since + self._seconds, max(since + _LAST_SECONDS, self.end)):
                self._since = None
                logger.error("sms.database_hangs: no answer for %.0f s, closing the connection", now - since)
                try:
                    _shut_down(self._connection)
                except Exception:
                    logger.exception("sms.worker_error: the thread continues")


def _shut_down(connection: Any) -> None:
    raw = connection.connection
    if connection.vendor == "postgresql" and raw is not None:
        with socket.socket(fileno=os.dup(raw.fileno())) as copy:
            # Also cancel the statement, which may hold row locks. Old versions of libpq skip this: it could block.
            try:
                raw.pgconn.cancel_conn()
                raw.cancel_safe(timeout=1.0)
            except Exception as error:  # noqa: BLE001 the exceptions depend on the driver
                logger.info("sms.not_canceled: %s: the statement may still run", type(error).__name__)
            copy.shutdown(socket.SHUT_RDWR)
