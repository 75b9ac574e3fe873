"""The payments' share of a long-running worker: orders, payouts and asking back, in threads of their own, so that
one who is slow to answer holds up nobody else. Any number of workers share the work."""

import logging
import threading
import time
from collections.abc import Callable

from django.db import InterfaceError, OperationalError, connection

from payments import asking, collecting, refunding

logger = logging.getLogger("payments")

# Threads that ask back: each asks about one payment at a time.
ASKERS = 4


def once() -> int:
    """Do what is due now, in this process; for cron. Returns how much that was."""
    return collecting.start_due() + refunding.pay_out_due() + asking.ask_due()


class Background:
    """Threads that do what is due until they are told to stop."""

    def __init__(self, poll: float = 1.0) -> None:
        """`poll`: seconds after which a thread looks even when nobody wakes it."""
        self.poll = poll
        self._database_lost, self._said = False, threading.Lock()
        self.stopping = threading.Event()
        turns: list[Callable[[], int]] = [
            lambda: collecting.start_due(self.stopping.is_set),
            lambda: refunding.pay_out_due(self.stopping.is_set),
            *[lambda: asking.ask_due(stopping=self.stopping.is_set)] * ASKERS,
        ]
        self._wakes = [threading.Event() for _ in turns]
        self._threads = [
            threading.Thread(target=self._repeat, args=pair, name=f"payments-{number}", daemon=True)
            for number, pair in enumerate(zip(turns, self._wakes, strict=True))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Look now: something was said on `collecting.CHANNEL`."""
        for event in self._wakes:
            event.set()

    def stop(self, seconds: float) -> bool:
        """Begin nothing more, finish what is begun. False: some had not ended in time."""
        self.stopping.set()
        self.wake()
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _database_is(self, *, there: bool, why: str = "") -> None:
        """One line when it is lost and one when it is back, not one a thread and second."""
        with self._said:
            if there and self._database_lost:
                logger.warning("payments.database_back")
            elif not there and not self._database_lost:
                logger.error("payments.database_lost (%s); trying again", why)
            self._database_lost = not there

    def _repeat(self, turn: Callable[[], int], wake: threading.Event) -> None:
        while not self.stopping.is_set():
            wake.clear()
            try:
                done = turn()
                self._database_is(there=True)
                if done:
                    continue
            except (OperationalError, InterfaceError) as error:
                self._database_is(there=False, why=type(error).__name__)
                connection.close()
            # Whatever it was, it is tried again in a moment.
            except Exception:
                logger.exception("payments: a turn failed.", extra={"event": "payments.turn_failed"})
                connection.close()
            wake.wait(self.poll)
        connection.close()
