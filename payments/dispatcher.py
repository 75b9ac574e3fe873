"""Send due requests to the provider in parallel.

One thread claims rows and records the answers. The requests themselves run in other threads, which do not use the
database.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import TypeVar

from django.db import DatabaseError, InterfaceError

from payments.database import close_if_unavailable
from payments.providers import Answer, Provider, Said

logger = logging.getLogger("payments")
T = TypeVar("T")

THREADS = 16
# A request that the provider did not accept is retried for this time, and then given up.
GIVE_UP = timedelta(minutes=10)
# If more seconds pass between the claim and the request, the process was suspended. Its claim may have expired, so the
# request is not sent.
_LONGEST_HOLD_UP = 20.0


def run(
    claim: Callable[[int], list[T]],
    ask: Callable[[T], Answer],
    record: Callable[[T, Answer], None],
    stopping: Callable[[], bool],
) -> int:
    """Send due requests until none is due, THREADS at a time. Return the number of requests.

    A slow request does not delay the others. If the database is down, answers wait until they can be recorded.

    `stopping`: when it returns True, no new request is begun.
    """
    begun = 0
    flying: dict[Future[Answer], T] = {}
    unwritten: list[tuple[T, Answer]] = []
    with ThreadPoolExecutor(THREADS, thread_name_prefix="payments") as pool:
        while True:
            room = 0 if stopping() or unwritten else THREADS - len(flying)
            # The time is read before the claim, so that a process suspended during the claim also counts as late.
            before = time.monotonic()
            claimed = _claimed(claim, room, in_hand=bool(flying)) if room else []
            for one in claimed:
                flying[pool.submit(ask_guarded, ask, one, before)] = one
            begun += len(claimed)
            if not flying and not unwritten:
                return begun
            done, _ = wait(flying, timeout=0.2, return_when=FIRST_COMPLETED)
            unwritten = _written(record, [*unwritten, *((flying.pop(future), future.result()) for future in done)])


def _claimed(claim: Callable[[int], list[T]], room: int, *, in_hand: bool) -> list[T]:
    """Return the claimed rows. If the database is lost, return none, so that answers to requests in flight can be
    recorded.
    """
    try:
        return claim(room)
    except (DatabaseError, InterfaceError) as error:
        if not in_hand or not close_if_unavailable(error):
            raise
        logger.error(
            "payments.database_lost: nothing new is begun (%s)",
            type(error).__name__,
            extra={"event": "payments.database_lost"},
        )
        return []


def ask_guarded(ask: Callable[[T], Answer], one: T, claimed: float) -> Answer:
    """Return the provider's answer. If the request was not sent, or our code raised an exception, return an answer
    that says so.
    """
    if time.monotonic() - claimed > _LONGEST_HOLD_UP:
        return Answer(Said.NOT_TAKEN, words="This process was held up before it could ask.")
    try:
        return ask(one)
    # After an unknown error the request may have been sent, so its outcome is ambiguous.
    except Exception:
        logger.exception("payments.round_failed: an error about %s", one, extra={"event": "payments.round_failed"})
        return Answer(Said.IN_DOUBT, words="An error of our own; the log has it.")


def _written(record: Callable[[T, Answer], None], answers: list[tuple[T, Answer]]) -> list[tuple[T, Answer]]:
    """Record answers. Return those that could not be recorded because the database is down."""
    for index, (one, answer) in enumerate(answers):
        try:
            record(one, answer)
        except (DatabaseError, InterfaceError) as error:
            if not close_if_unavailable(error):
                raise
            logger.error(
                "payments.database_lost: the answer on %s waits (%s)",
                one,
                type(error).__name__,
                extra={"event": "payments.database_lost"},
            )
            time.sleep(0.5)
            return answers[index:]
    return []


def lease(provider: Provider) -> timedelta:
    """Return how long a claimed request is assumed to be in progress. After that, another process may treat it as
    ambiguous.
    """
    return timedelta(seconds=provider.longest + 30)


def pause(age: timedelta) -> timedelta:
    """Return the pause before a request that was not sent is retried: half of its age, from 1 to 30 seconds."""
    return timedelta(seconds=min(30.0, max(1.0, age.total_seconds() / 2)))
