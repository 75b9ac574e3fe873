"""Receive PostgreSQL's NOTIFY on the worker's main connection.

The listener tests itself with probes. A probe is a NOTIFY over another connection. If NOTIFY does not arrive, polling
still finds every message, only later.
"""

from typing import Any

from django.db import connection

from sms import clock
from sms.logs import get_logger
from sms.outbox import CHANNEL

logger = get_logger("sms.worker")

PROBE_SECONDS = 15.0
_PATIENCE = 3.0


class Listener:
    """Receives NOTIFY for the worker.

    `notified`: since the last claim, a NOTIFY arrived or may have been lost. `polling_only`: NOTIFY does not arrive.
    """

    def __init__(self, claimer: str) -> None:
        self._channel = f"sms_probe_{claimer}"
        self._listening: Any = None
        self.notified, self.polling_only = True, False
        # Monotonic times just before and just after sending the probe that `check` examines, or None without a probe.
        self._probe: tuple[float, float] | None = None
        self._came_back_at, self._lost = 0.0, 0

    def open(self) -> None:
        """Execute LISTEN if this connection does not listen yet. Call this in the thread that owns the connection."""
        if connection.vendor != "postgresql":
            return
        connection.ensure_connection()
        if connection.connection is self._listening:
            return
        raw: Any = connection.connection
        if not hasattr(raw, "add_notify_handler"):
            if not self.polling_only:
                self._warn("psycopg 2 is installed: install psycopg 3 so that new messages are noticed at once")
            return
        with connection.cursor() as cursor:
            for channel in (CHANNEL, self._channel):
                cursor.execute(f'LISTEN "{channel}"')
        raw.add_notify_handler(lambda notify: self._received(notify.channel))
        self._listening = raw
        self._probe = None
        # A NOTIFY may have been sent before this connection listened, so look for messages now.
        self.notified = True

    def fileno(self) -> int | None:
        """Return a file descriptor that is readable after a NOTIFY, or None if the worker does not listen."""
        raw = self._listening
        return raw.pgconn.socket if raw is not None and not raw.closed else None

    def take(self) -> None:
        """Process the notifications that have arrived."""
        raw = self._listening
        if raw is None or raw.closed:
            return
        with connection.wrap_database_errors:
            raw.pgconn.consume_input()
        while notify := raw.pgconn.notifies():
            self._received(notify.relname.decode())

    def _received(self, channel: str) -> None:
        if channel == CHANNEL:
            self.notified = True
        elif channel == self._channel:
            self._came_back_at, self._lost = clock.monotonic(), 0
            if self.polling_only:
                self.polling_only = False
                logger.warning("sms.listening_again: NOTIFY arrives again")

    def probe(self) -> None:
        """Send a probe: a NOTIFY that the listener must receive. Call this in another thread, with its own connection.

        A pooler may deliver a connection's own NOTIFY and drop all others.
        """
        if self._listening is None:
            return
        started = clock.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(f'NOTIFY "{self._channel}"')
        # If an earlier probe has not arrived, keep its times, so that `check` notices when it is overdue.
        if self._probe is None or self._came_back_at >= self._probe[0]:
            self._probe = started, clock.monotonic()

    def check(self) -> None:
        """Reconnect if a probe was not received in time. If the next probe is lost too, set `polling_only`."""
        if not self._overdue():
            return
        self.take()
        if not self._overdue():
            return
        self._probe = None
        self._lost += 1
        if self._lost == 1:
            logger.warning("sms.listen_lost: reconnecting")
            connection.close()
        elif not self.polling_only:
            self._warn("a transaction pooler is in the way: let the worker connect straight to PostgreSQL")

    def _overdue(self) -> bool:
        probe = self._probe
        return probe is not None and self._came_back_at < probe[0] and clock.monotonic() > probe[1] + _PATIENCE

    def _warn(self, why: str) -> None:
        self.polling_only = True
        logger.warning("sms.not_listening: NOTIFY does not arrive, new messages are noticed by polling; %s", why)
