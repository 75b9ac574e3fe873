"""The payments' part of `game_worker`: threads that send what is due. Any number of workers share the work."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from django.db import connection

from payments import adoption, collection, refunds, status_polling
from payments.database import close_if_unavailable

logger = logging.getLogger("payments")

# Threads that poll payment statuses: each polls one payment at a time.
POLLERS = 4
_PAUSE_AFTER_ERROR = 1.0


def once() -> int:
    """Do what is due now, in this process; for cron. Return how much that was."""
    adoption.adopt()
    return collection.start_due() + status_polling.poll_due() + refunds.pay_out_due()


class Outage:
    """Log one line when the database is lost and one when it is back, whatever the number of threads."""

    def __init__(self, logger: logging.Logger, lost: str, back: str) -> None:
        """`lost` and `back`: the names of the two log events."""
        self.logger, self.lost, self.back = logger, lost, back
        self._is_lost, self._lock = False, threading.Lock()

    def begins(self, error: BaseException) -> None:
        with self._lock:
            if not self._is_lost:
                name = type(error).__name__
                self.logger.error("The database is unavailable (%s); trying again", name, extra={"event": self.lost})
            self._is_lost = True

    def ends(self) -> None:
        if not self._is_lost:
            return
        with self._lock:
            if self._is_lost:
                self.logger.warning("The database answers again", extra={"event": self.back})
            self._is_lost = False


class Loop:
    """A thread that repeats `turn` until `stop`, and survives every exception that it raises.

    `turn` returns the seconds until its next call; `wake` ends that wait. `event`: the name of the log line for an
    exception that is not the database's.
    """

    def __init__(
        self, name: str, turn: Callable[[], float], outage: Outage, event: str, at_end: Callable[[], None] | None = None
    ) -> None:
        """`at_end` runs in the thread after the last turn."""
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
        """Return whether the thread ended although nobody stopped it."""
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
        # A loop that ended would stop all later work. Logging the error costs only this turn.
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
            "An error in the thread %s; trying again",
            self.thread.name,
            exc_info=error,
            extra={"event": self.event},
        )
        connection.close()


def stop_all(loops: list[Loop], seconds: float) -> bool:
    """Stop all loops and wait for them. False: some had not ended after `seconds`."""
    for loop in loops:
        loop.stop()
    end = time.monotonic() + seconds
    for loop in loops:
        loop.thread.join(max(0.0, end - time.monotonic()))
    return not any(loop.thread.is_alive() for loop in loops)


def loops(poll: float) -> list[Loop]:
    """The threads that send requests, payouts and polls. `poll`: seconds between looks if nothing wakes them."""
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
