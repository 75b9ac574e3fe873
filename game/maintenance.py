"""The periodic tasks of the game. Several processes can safely run them at the same time."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from game.notifications import text_activated
from game.rules.ending import announce_refunds, expire_old, give_up_unpaid
from game.rules.matching import activate_paid, left_inactive
from game.rules.pruning import prune
from payments import journal, ledger, services
from payments.database import not_locked
from payments.models import Payment

logger = logging.getLogger("game.chores")


class Done(NamedTuple):
    """The number of rows that a task processed in one run, and the number of failed rows, which are retried later."""

    done: int
    failed: int = 0


def activate_left(within: timedelta | None = None) -> Done:
    """Activate paid entries that an error left inactive. `within`: skip payments collected longer ago than this."""
    activated = failed = 0
    for payment in left_inactive(within):
        try:
            activated += _activate(payment)
        # If one entry fails, the others must still be activated.
        except Exception:
            failed += 1
            logger.exception("game.not_opened: the entry of payment %s could not be activated", payment.pk)
    return Done(activated, failed)


def _activate(payment: Payment) -> bool:
    with journal.writing():
        locked = not_locked(Payment.objects.filter(pk=payment.pk)).first()
        if locked is None:
            return False  # Another transaction has locked the payment. The next run tries again.
        journal.ensure_adopted(locked)
        entry = activate_paid(locked)
        text_activated(locked)
    return entry is not None and entry.opened_at is not None


class Task(NamedTuple):
    """A periodic task. `every`: seconds between two runs in one worker."""

    name: str
    run: Callable[[], Done]
    every: float


_pruned_until: dict[str, int] = {}

# The periodic tasks of `game_worker`. A run that finds no work takes a few milliseconds, even with large tables.
TASKS = (
    Task("activated", lambda: activate_left(timedelta(minutes=1)), 1.0),
    Task("expired", lambda: Done(expire_old()), 1.0),
    Task("refund messages queued", lambda: Done(*announce_refunds()), 1.0),
    Task("payment messages queued", lambda: Done(*services.tell_again()), 1.0),
    Task("activated late", lambda: activate_left(timedelta(hours=1)), 60.0),
    Task("adopted", lambda: Done(journal.adopt()), 1.0),
    Task("hours totaled", lambda: Done(ledger.write_hours()), 60.0),
    Task("abandoned", lambda: Done(give_up_unpaid()), 60.0),
    Task("pruned", lambda: Done(prune(positions=_pruned_until)), 10.0),
)
# The tasks that `manage.py expire_queue` runs once. Unlike in TASKS, activation and pruning search whole tables.
THOROUGH = tuple(
    task._replace(run={"activated": activate_left, "pruned": lambda: Done(prune())}.get(task.name, task.run))
    for task in TASKS
    if task.name != "activated late"
)
