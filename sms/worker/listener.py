"""Receive NOTIFY on the worker's main connection.

The listener tests itself with probes: a probe is a NOTIFY that the listener must receive. If NOTIFY does not arrive,
polling still finds every message, only later. Therefore the listener reconnects once, and logs a lasting problem once.
"""

import logging
from typing import Any

from django.db import connection

from sms import clock
from sms.outbox import CHANNEL

logger = logging.getLogger("sms.worker")

PROBE_SECONDS = 15.0
_PATIENCE = 3.0


class Listener:
    """Receives NOTIFY for the worker.

    `notified`: a NOTIFY has arrived; the worker resets this flag. `polling_only`: NOTIFY does not arrive.
    """

    def __init__(self, claimer: str) -> None:
        self._channel = f"sms_probe_{claimer}"
        self._listening: Any = None
        self.notified = True
        self.polling_only = False
        # Times (monotonic) just before and just after the last probe was sent, or None if no probe is pending.
        self._probe: tuple[float, float] | None = None
        self._came_back_at = 0.0
        self._lost = 0

    def open(self) -> None:
        """Execute LISTEN unless this connection already listens. Call this in the thread that owns the connection."""
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
        # A NOTIFY may have been missed while the connection did not listen.
        self.notified = True

    def fileno(self) -> int | None:
        """Return the file descriptor that a NOTIFY makes readable, or None if the worker does not listen."""
        raw = self._listening
        return raw.pgconn.socket if raw is not None and not raw.closed else None

    def take(self) -> None:
        """Read the notifications that have arrived."""
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
            self._came_back_at = clock.monotonic()
            self._lost = 0
            if self.polling_only:
                self.polling_only = False
                logger.warning("sms.listening_again: NOTIFY arrives again", extra={"event": "sms.listening_again"})

    def probe(self) -> None:
        """Send a probe: a NOTIFY over another connection, which must come back to the listener.

        The listener's own connection cannot send it: a connection pooler would deliver a connection's own NOTIFY even
        if it drops those of other connections.
        """
        if self._listening is None:
            return
        started = clock.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(f'NOTIFY "{self._channel}"')
        # Do not replace an earlier probe that has not come back yet.
        if self._probe is None or self._came_back_at >= self._probe[0]:
            self._probe = started, clock.monotonic()

    def check(self) -> None:
        """Reconnect if a probe did not come back in time.

        If the next probe is lost too, log a warning and rely on polling.
        """
        if not self._overdue():
            return
        self.take()
        if not self._overdue():
            return
        self._probe = None
        self._lost += 1
        if self._lost == 1:
            logger.warning("sms.listen_lost: reconnecting", extra={"event": "sms.listen_lost"})
            connection.close()
        elif not self.polling_only:
            self._warn("a transaction pooler is in the way: let the worker connect straight to PostgreSQL")

    def _overdue(self) -> bool:
        probe = self._probe
        return probe is not None and self._came_back_at < probe[0] and clock.monotonic() > probe[1] + _PATIENCE

    def _warn(self, why: str) -> None:
        self.polling_only = True
        logger.warning(
            "sms.not_listening: NOTIFY does not arrive, new messages are noticed by polling; %s",
            why,
            extra={"event": "sms.not_listening"},
        )
