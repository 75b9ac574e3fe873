"""What time brings to the game. Each chore is a short look, and any number of processes may take it at one moment."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from django.db import connection, transaction

from game.notifications import text_opened
from game.rules.ending import expire_old, give_up_unpaid, tell_refunds
from game.rules.opening import left_unopened, open_paid
from game.rules.pruning import prune
from payments.models import Payment

logger = logging.getLogger("game.chores")


class Done(NamedTuple):
    """`failed`: what is left for another time; the log says why."""

    done: int
    failed: int = 0


def open_left() -> Done:
    """Open the paid entries that a crash or a failing receiver left unopened."""
    opened = failed = 0
    for payment in left_unopened():
        try:
            opened += _open(payment)
        # One that cannot be opened must not keep the others waiting.
        except Exception:
            failed += 1
            logger.exception("game.not_opened: payment %s", payment.pk)
    return Done(opened, failed)


def _open(payment: Payment) -> bool:
    skip_locked = connection.features.has_select_for_update_skip_locked
    with transaction.atomic():
        locked = Payment.objects.select_for_update(skip_locked=skip_locked).filter(pk=payment.pk).first()
        if locked is None:
            return False  # somebody is at it
        entry = open_paid(locked)
    # The entry stays open where its text fails; a repeated callback sends it.
    with transaction.atomic():
        text_opened(locked)
    return entry is not None and entry.opened_at is not None


def end() -> Done:
    return Done(expire_old())


def give_up() -> Done:
    return Done(give_up_unpaid())


def tell() -> Done:
    return Done(*tell_refunds())


def forget() -> Done:
    return Done(prune())


class Chore(NamedTuple):
    """`every`: seconds between two looks of one worker."""

    name: str
    look: Callable[[], Done]
    every: float


CHORES = (
    Chore("opened", open_left, 10.0),
    Chore("expired", end, 1.0),
    Chore("refunds told", tell, 1.0),
    Chore("given up", give_up, 60.0),
    Chore("pruned", forget, 600.0),
)
