"""The registry of uses: the app that takes payments registers what their money is for."""

from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q

from payments.models import Payment
from payments.states import Event, Kind, Place


def _none(payment: Payment) -> Place:
    return Place.RECEIVED


def _ignore(payment: Payment) -> None: ...


def _nothing() -> Q:
    return Q(pk__in=())


@dataclass(frozen=True, slots=True)
class Use:
    """`place_of`: whether a payment in use is received, waiting or in a match. `hold`: the same, after locking what
    could move it; the caller holds the payment's lock. `leave`: its entry leaves the queue. `over`: the payments whose
    time ended without a match. `played`: those in a match."""

    place_of: Callable[[Payment], Place] = _none
    hold: Callable[[Payment], Place] = _none
    leave: Callable[[Payment], None] = _ignore
    over: Callable[[], Q] = _nothing
    played: Callable[[], Q] = _nothing


_use = Use()


def register(use: Use) -> None:
    """Say what payments are for; once, when the app is ready."""
    global _use
    _use = use


def current() -> Use:
    return _use


# --- what the use tells of: each within a transaction, under the locks of section "locks" in docs/payments.md


def activated(payment: Payment) -> None:
    """Record that the entry of a received payment became active. The caller has locked payment, player and level."""
    _moved(payment, Kind.ACTIVATED, Place.RECEIVED)


def held(payment: Payment) -> None:
    """A received payment cannot be used: it is refund due."""
    _moved(payment, Kind.HELD, Place.RECEIVED)


def unused(payment: Payment) -> None:
    """The entry of a payment was left, or its time ended without a match: it is refund due."""
    _moved(payment, Kind.UNUSED, Place.WAITING)


def matched(payment: Payment, key: str) -> None:
    """The entry of a payment was matched. Writes no payment row, so the opponent's payment need not be locked."""
    from payments import clock, journal
    from payments.rules import apply

    event, now = Event(Kind.MATCHED), clock.now()
    outcome = apply(journal.state_of(payment, Place.WAITING), event, now)
    if not outcome.refusal:
        journal.record(payment, event, outcome.postings, now, journal.Cause(key=key))


def _moved(payment: Payment, kind: Kind, place: Place) -> None:
    from payments import adoption, journal

    # The caller has a savepoint; another one would cost two statements.
    with transaction.atomic(savepoint=False):
        adoption.ensure(payment)
        journal.take(payment, Event(kind), place=place)
