"""What the money of a payment is for. Whoever takes payments registers it; `payments` knows no more of it than this.

Conditions are `Q`s on Payment, made anew at each use, so that they may hold the time.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.db.models import Q

from payments.models import Payment

Condition = Callable[[], Q]


def _nothing() -> Q:
    return Q(pk__in=())


def _hold_nothing(payment: Payment) -> None: ...


@dataclass(frozen=True, slots=True)
class Use:
    """`played`: in a match; `waiting`: in a queue, within its time; `over`: to be given back, as its time ended without
    a match. `hold` locks, within a transaction that holds the payment's lock, what could still move the payment from
    one of these to another."""

    played: Condition = _nothing
    waiting: Condition = _nothing
    over: Condition = _nothing
    hold: Callable[[Payment], None] = _hold_nothing


_use = Use()


def register(use: Use) -> None:
    """Say what payments are for; once, when the app is ready."""
    global _use
    _use = use


def current() -> Use:
    return _use
