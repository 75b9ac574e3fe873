"""The payments' threads of `game_worker`: they send payment requests and payouts, and poll statuses.

Any number of worker processes can share this work.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from django.db import connection

from payments import adoption, collection, refunds, status_polling
from payments.database import close_if_unavailable

logger = logging.getLogger("payments")

# The number of threads that poll statuses. Each of them polls one payment at a time.
POLLERS = 4
_PAUSE_AFTER_ERROR = 1.0


def once() -> int:
    """Do all work that is due now in this process, for use from cron. Return the number of requests and polls."""
    adoption.adopt()
    return collection.start_due() + status_polling.poll_due() + refunds.pay_out_due()


class Outage:
    """Log one line when the database becomes unavailable and one when it is back, however many threads notice it."""

    def __init__(self, logger: logging.Logger, lost: str, back: str) -> None:
        """Set the names of the two log events: `lost` and `back`."""
        self.logger, self.lost, self.back = logger, lost, back
        self._is_lost, self._lock = False, threading.Lock()

    def begins(self, error: BaseException) -> None:
        with self._lock:
            if not self._is_lost:
                name = type(error).__name__
                message = "%s: the database is unavailable (%s); trying again"
                self.logger.error(message, self.lost, name, extra={"event": self.lost})
            self._is_lost = True

    def ends(self) -> None:
        if not self._is_lost:
            return
        with self._lock:
            if self._is_lost:
                self.logger.warning("%s: the database answers again", self.back, extra={"event": self.back})
            self._is_lost = False


class Loop:
    """A thread that repeats `turn` until `stop` is called. Exceptions do not end it.

    `turn` returns the seconds until its next call. `wake` ends this wait. `event`: the log event for exceptions other
    than those of the database.
    """

    def __init__(
        self, name: str, turn: Callable[[], float], outage: Outage, event: str, at_end: Callable[[], None] | None = None
    ) -> None:
        """`at_end` is called in the thread after the last turn."""
        self.turn, self.outage, self.event, self.at_end = turn, outage, event, at_end
        self.stopping, self._wake = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        self.stopping.set()
        self._wake.set()

    @property
    def is_dead(self) -> bool:
        """Return True if the thread has ended without a call of `stop`."""
        return not self.thread.is_alive() and not self.stopping.is_set()

    def _run(self) -> None:
        try:
            while not self.stopping.is_set():
                self._wake.clear()
                self._wake.wait(self._guarded_turn())
            if self.at_end is not None:
                self.at_end()
        finally:
            connection.close()

    def _guarded_turn(self) -> float:
        try:
            pause = self.turn()
            self.outage.ends()
        # If the thread ended, nobody would do its work. After an exception it only ends this turn.
        except Exception as error:  # noqa: BLE001
            with suppress(Exception):
                self._failed(error)
            return _PAUSE_AFTER_ERROR
        return pause

    def _failed(self, error: Exception) -> None:
        if close_if_unavailable(error):
            self.outage.begins(error)
            return
        self.outage.logger.error(
            "%s: an error in the thread %s; trying again",
            self.event,
            self.thread.name,
            exc_info=error,
            extra={"event": self.event},
        )
        connection.close()


def stop_all(loops: list[Loop], seconds: float) -> bool:
    """Stop all loops and wait for them. Return False if some are still running after `seconds`."""
    for loop in loops:
        loop.stop()
    end = time.monotonic() + seconds
    for loop in loops:
        loop.thread.join(max(0.0, end - time.monotonic()))
    return not any(loop.thread.is_alive() for loop in loops)


def loops(poll: float) -> list[Loop]:
    """Return the threads that send payment requests and payouts and poll statuses.

    `poll`: seconds between two searches for due work if no notification wakes the threads.
    """
    outage = Outage(logger, "payments.database_lost", "payments.database_back")
    found: list[Loop] = []

    def add(work: Callable[[Callable[[], bool]], int]) -> None:
        def turn() -> float:
            return 0.0 if work(loop.stopping.is_set) else poll

        loop = Loop(f"payments-{len(found)}", turn, outage, "payments.turn_failed")
        found.append(loop)

    add(collection.start_due)
    add(refunds.pay_out_due)
    for _ in range(POLLERS):
        add(lambda stopping: status_polling.poll_due(stopping=stopping))
    return found
