"""Carrying out what is due: claimed here, asked of the provider in threads without the database, written down here."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

from payments.providers import Answer, Provider, Said

logger = logging.getLogger("payments")
T = TypeVar("T")

THREADS = 16
# A request that the provider did not take for this long is given up.
GIVE_UP = timedelta(minutes=10)
# A claim is begun at once; later than that its process was stopped, and the claim may be another's to judge.
_LONGEST_HOLD_UP = 20.0


def run(
    claim: Callable[[int], list[T]],
    ask: Callable[[T], Answer],
    record: Callable[[T, Answer], None],
    stopping: Callable[[], bool],
) -> int:
    """Until nothing is due, THREADS at a time. Slow ones hold up no others; what becomes due meanwhile is taken along.

    Answers that cannot be written wait until the database is back. `stopping`: begin no more. Returns how many.
    """
    begun = 0
    flying: dict[Future[Answer], T] = {}
    unwritten: list[tuple[T, Answer]] = []
    with ThreadPoolExecutor(THREADS, thread_name_prefix="payments") as pool:
        while True:
            room = 0 if stopping() or unwritten else THREADS - len(flying)
            before = (
                time.monotonic()
            )  # read before the claim, so that a process suspended during the claim counts as late
            claimed = _claimed(claim, room, in_hand=bool(flying)) if room else []
            for one in claimed:
                flying[pool.submit(ask_guarded, ask, one, before)] = one
            begun += len(claimed)
            if not flying and not unwritten:
                return begun
            done, _ = wait(flying, timeout=0.2, return_when=FIRST_COMPLETED)
            unwritten = _written(record, [*unwritten, *((flying.pop(future), future.result()) for future in done)])


def _claimed(claim: Callable[[int], list[T]], room: int, *, in_hand: bool) -> list[T]:
    """Return the claimed rows. If the database is lost, return none, so that answers still in flight are recorded."""
    try:
        return claim(room)
    except (OperationalError, InterfaceError) as error:
        if not in_hand:
            raise
        logger.error("payments.database_lost (%s): nothing new is begun.", type(error).__name__)
        connection.close()
        return []


def ask_guarded(ask: Callable[[T], Answer], one: T, claimed: float) -> Answer:
    """The provider's answer; what was never asked, or died of an error of ours, as one too."""
    if time.monotonic() - claimed > _LONGEST_HOLD_UP:
        return Answer(Said.NOT_TAKEN, words="This process was held up before it could ask.")
    try:
        return ask(one)
    # Whatever it was, the request may have left.
    except Exception:
        logger.exception("payments.round_failed: about %s", one)
        return Answer(Said.IN_DOUBT, words="An error of our own; the log has it.")


def _written(record: Callable[[T, Answer], None], answers: list[tuple[T, Answer]]) -> list[tuple[T, Answer]]:
    """Write answers down. Returns those that wait for the database."""
    for index, (one, answer) in enumerate(answers):
        try:
            record(one, answer)
        except (OperationalError, InterfaceError) as error:
            logger.error("payments.database_lost (%s): the answer on %s waits", type(error).__name__, one)
            connection.close()
            time.sleep(0.5)
            return answers[index:]
    return []


def lease(provider: Provider) -> timedelta:
    """For how long nobody doubts that a claim is being carried out."""
    return timedelta(seconds=provider.longest + 30)


def pause(age: timedelta) -> timedelta:
    """Until what never left is tried again: longer with its age, half a minute at most."""
    return timedelta(seconds=min(30.0, max(1.0, age.total_seconds() / 2)))
