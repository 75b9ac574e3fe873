"""LISTEN on the worker's own connection, which watches itself: a NOTIFY of its own has to come back.

Without it the poll finds everything, only later; so what is wrong here is mended once, and said once.
"""

import logging
import time
from typing import Any

from django.db import connection

from sms.outbox import CHANNEL

logger = logging.getLogger("sms.worker")

PROBE_SECONDS = 15.0
_PATIENCE = 3.0


class Listener:
    """`heard` is True after a NOTIFY, until whoever reads it resets it; `deaf` when only the poll is left."""

    def __init__(self, claimer: str) -> None:
        self._channel = f"sms_probe_{claimer}"
        self._listening: Any = None
        self.heard = True
        self.deaf = False
        # When the last probe was sent, and had been sent.
        self._probe: tuple[float, float] | None = None
        self._came_back_at = 0.0
        self._silent = 0

    def open(self) -> None:
        """Listen, where the connection is not the one that listens already. By the thread that owns it."""
        if connection.vendor != "postgresql":
            return
        connection.ensure_connection()
        if connection.connection is self._listening:
            return
        raw: Any = connection.connection
        if not hasattr(raw, "add_notify_handler"):
            if not self.deaf:
                self._say_deaf("psycopg 2 is installed: install psycopg 3 to have new texts noticed at once")
            return
        with connection.cursor() as cursor:
            for channel in (CHANNEL, self._channel):
                cursor.execute(f'LISTEN "{channel}"')
        raw.add_notify_handler(lambda notify: self._hear(notify.channel))
        self._listening = raw
        self._probe = None
        # What came while nobody listened.
        self.heard = True

    def fileno(self) -> int | None:
        """What becomes readable when a NOTIFY comes; None where nobody listens."""
        raw = self._listening
        return raw.pgconn.socket if raw is not None and not raw.closed else None

    def take(self) -> None:
        """Read what has come."""
        raw = self._listening
        if raw is None or raw.closed:
            return
        raw.pgconn.consume_input()
        while notify := raw.pgconn.notifies():
            self._hear(notify.relname.decode())

    def _hear(self, channel: str) -> None:
        if channel == CHANNEL:
            self.heard = True
        elif channel == self._channel:
            self._came_back_at = time.monotonic()
            self._silent = 0
            if self.deaf:
                self.deaf = False
                logger.warning("sms.listening_again", extra={"event": "sms.listening_again"})

    def probe(self) -> None:
        """Send the NOTIFY that has to come back; by a thread with a connection of its own, since a pooler passes on
        what a connection tells itself."""
        if self._listening is None:
            return
        started = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(f'NOTIFY "{self._channel}"')
        # One that has not come back is still waited for.
        if self._probe is None or self._came_back_at >= self._probe[0]:
            self._probe = started, time.monotonic()

    def check(self) -> None:
        """Connect anew where the probe did not come back; the second time say so, and leave it at the poll."""
        if not self._overdue():
            return
        self.take()
        if not self._overdue():
            return
        self._probe = None
        self._silent += 1
        if self._silent == 1:
            logger.warning("sms.listen_lost; connecting anew", extra={"event": "sms.listen_lost"})
            connection.close()
        elif not self.deaf:
            self._say_deaf("a transaction pooler stands between: let the worker connect straight to PostgreSQL")

    def _overdue(self) -> bool:
        probe = self._probe
        return probe is not None and self._came_back_at < probe[0] and time.monotonic() > probe[1] + _PATIENCE

    def _say_deaf(self, why: str) -> None:
        self.deaf = True
        logger.warning(
            "sms.not_listening: NOTIFY does not arrive, new texts are noticed by polling; %s",
            why,
            extra={"event": "sms.not_listening"},
        )
