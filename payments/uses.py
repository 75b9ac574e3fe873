"""The interface to the app that takes payments, such as the game. That app registers functions about its use of the
money.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q

from payments.models import Payment
from payments.rules.states import Event, Kind, Place


def _none(payment: Payment) -> Place:
    return Place.RECEIVED


def _ignore(payment: Payment) -> None: ...


def _nothing() -> Q:
    return Q(pk__in=())


@dataclass(frozen=True, slots=True)
class Use:
    """Functions that the app which uses payments provides.

    - `place_of`: return whether the money of a payment in use is received, waiting or in a match
    - `hold`: the same, and lock the app's rows that could change it; the caller has locked the payment
    - `leave`: take the payment's entry out of the queue
    - `over`: a condition for payments whose entry expired without a match
    - `played`: a condition for payments whose entry is in a match
    - `opponent`: return the other payment of the match, and the key of the event that records the match
    """

    place_of: Callable[[Payment], Place] = _none
    hold: Callable[[Payment], Place] = _none
    leave: Callable[[Payment], None] = _ignore
    over: Callable[[], Q] = _nothing
    played: Callable[[], Q] = _nothing
    opponent: Callable[[Payment], tuple[Payment, str] | None] = _ignore


_use = Use()


def register(use: Use) -> None:
    """Register the functions of the app that uses payments. Called once, when that app is ready."""
    global _use
    _use = use


def current() -> Use:
    return _use


# The app that uses payments calls the functions below to report changes, inside a transaction and with the payment's
# lock.


def activated(payment: Payment) -> None:
    """Record that the entry of a received payment was activated. The caller has locked payment, player and stake
    level.
    """
    _moved(payment, Kind.ACTIVATED, Place.RECEIVED)


def held(payment: Payment) -> None:
    """Record that a received payment cannot be used, so that its money is due for refund."""
    _moved(payment, Kind.HELD, Place.RECEIVED)


def unused(payment: Payment) -> None:
    """Record that the entry of a payment was left or expired without a match, so that its money is due for refund."""
    _moved(payment, Kind.UNUSED, Place.WAITING)


def matched(payment: Payment, key: str) -> None:
    """Record that the entry of a payment was matched.

    This only adds a journal entry. The payment's row does not change, so the opponent's payment need not be locked.
    """
    from payments import database, journal
    from payments.rules.payment import apply

    event, now = Event(Kind.MATCHED), database.now()
    outcome = apply(journal.state_of(payment, Place.WAITING), event, now)
    if not outcome.refusal:
        journal.record(payment, event, outcome.postings, now, journal.Cause(key=key))


def _moved(payment: Payment, kind: Kind, place: Place) -> None:
    from payments import adoption, journal

    # The caller already has a savepoint. A second savepoint would cost two statements.
    with transaction.atomic(savepoint=False):
        adoption.ensure(payment)
        journal.take(payment, Event(kind), place=place)
