"""Threads that repeat their work, and parallel requests to the provider.

The threads that make requests do not use the database. The thread that calls `run` claims rows and records answers.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction

from payments.database import close_if_unavailable
from payments.providers import Answer, Provider, Said

logger = logging.getLogger("payments")
T = TypeVar("T")

# PostgreSQL channel whose NOTIFY wakes workers when a request or poll is due.
CHANNEL = "payments_work"
THREADS = 16
# Time for which a request is retried if the provider did not accept it.
GIVE_UP = timedelta(minutes=10)
# Longest time between the claim and the request, in seconds. A later request could outlast the claim.
_LONGEST_HOLD_UP = 20.0

_PAUSE_AFTER_ERROR = 1.0


class Outage:
    """An outage of the database, shared by all threads. Its beginning and its end are each logged once."""

    def __init__(self, logger: logging.Logger, lost: str, back: str) -> None:
        """`lost`: the event to log when the database is lost. `back`: the event to log when it is available again."""
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
    """A thread that repeats `turn` until `stop` is called. Exceptions do not end the thread.

    `turn` returns the seconds until its next call, and `wake` ends this wait early. `event`: the log event for errors.
    """

    def __init__(
        self, name: str, turn: Callable[[], float], outage: Outage, event: str, at_end: Callable[[], None] | None = None
    ) -> None:
        """`at_end`: a function that is called once, in the thread, after the last call of `turn`."""
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
        """Return True if the thread has ended although `stop` was not called."""
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
        # An exception must not end the thread, because then no more work would be done.
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
    """Stop all loops and wait for them. Return False if one is still running after `seconds`."""
    for loop in loops:
        loop.stop()
    end = time.monotonic() + seconds
    for loop in loops:
        loop.thread.join(max(0.0, end - time.monotonic()))
    return not any(loop.thread.is_alive() for loop in loops)


def run(
    claim: Callable[[int], list[T]],
    ask: Callable[[T], Answer],
    record: Callable[[T, Answer], None],
    stopping: Callable[[], bool],
) -> int:
    """Send all due requests to the provider, up to 16 (THREADS) at a time. Return the number of requests.

    Answers that cannot be recorded yet are kept in memory. `stopping`: when it returns True, nothing more is claimed.
    """
    begun = 0
    flying: dict[Future[Answer], T] = {}
    unwritten: list[tuple[T, Answer]] = []
    with ThreadPoolExecutor(THREADS, thread_name_prefix="payments") as pool:
        while True:
            room = 0 if stopping() or unwritten else THREADS - len(flying)
            # Read the clock before the claim, so that a process suspended during the claim also counts as late.
            before = time.monotonic()
            claimed = _claimed(claim, room, in_hand=bool(flying)) if room else []
            for one in claimed:
                flying[pool.submit(ask_guarded, ask, one, before)] = one
            begun += len(claimed)
            if not flying and not unwritten:
                return begun
            done, _ = wait(flying, timeout=0.2, return_when=FIRST_COMPLETED)
            unwritten = _written(record, unwritten, [(flying.pop(future), future.result()) for future in done])


def _claimed(claim: Callable[[int], list[T]], room: int, *, in_hand: bool) -> list[T]:
    """Claim up to `room` rows and return them.

    If the database is unavailable, raise the error. But if requests are in flight (`in_hand`), return no rows.
    """
    try:
        return claim(room)
    except (DatabaseError, InterfaceError) as error:
        if not in_hand or not close_if_unavailable(error):
            raise
        logger.error(
            "payments.database_lost: no new request is begun (%s)",
            type(error).__name__,
            extra={"event": "payments.database_lost"},
        )
        return []


def ask_guarded(ask: Callable[[T], Answer], one: T, claimed: float) -> Answer:
    """Return the provider's answer. If the request was not sent or our code failed, the returned answer says so."""
    if time.monotonic() - claimed > _LONGEST_HOLD_UP:
        return Answer(Said.NOT_TAKEN, words="This process was suspended before it could send the request.")
    try:
        return ask(one)
    # An unexpected error does not show if the request was sent, so the outcome is ambiguous.
    except Exception:
        logger.exception("payments.round_failed: an error about %s", one, extra={"event": "payments.round_failed"})
        return Answer(Said.IN_DOUBT, words="An error of our own; the log has it.")


def _written(
    record: Callable[[T, Answer], None], waiting: list[tuple[T, Answer]], new: list[tuple[T, Answer]]
) -> list[tuple[T, Answer]]:
    """Record answers. Return the answers that could not be recorded because the database is down.

    `waiting`: the answers that the last call could not record.
    """
    answers = [*waiting, *new]
    for index, (one, answer) in enumerate(answers):
        try:
            record(one, answer)
        except (DatabaseError, InterfaceError) as error:
            if not close_if_unavailable(error):
                raise
            if not waiting:
                logger.error(
                    "payments.database_lost: the answer about %s waits (%s)",
                    one,
                    type(error).__name__,
                    extra={"event": "payments.database_lost"},
                )
            time.sleep(0.5)
            return answers[index:]
    return []


def lease(provider: Provider) -> timedelta:
    """Return how long the claim on a request lasts. After that, another process may mark it as ambiguous."""
    return timedelta(seconds=provider.longest + 30)


def pause(age: timedelta) -> timedelta:
    """Return the pause before a request that the provider did not accept is sent again.

    `age`: the time since the payment or payout was created.
    """
    return timedelta(seconds=min(30.0, max(1.0, age.total_seconds() / 2)))


def inline() -> bool:
    """Return True if each process makes its own requests to the provider, without a worker."""
    return bool(getattr(settings, "SMS_DELIVERY", "inline") == "inline")


def tell_workers() -> None:
    """Wake the workers by NOTIFY after the commit. If the NOTIFY is lost, polling finds the rows."""
    if connection.vendor == "postgresql" and not any(call[1] is _notify for call in connection.run_on_commit):
        transaction.on_commit(_notify, robust=True)


def _notify() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {CHANNEL}")
