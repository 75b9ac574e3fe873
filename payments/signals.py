"""The interface to the app that takes payments, such as the game: signals to it, and functions that it registers.

Signals are sent with `send_robust` inside the transaction that makes the change.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.db.models import Q
from django.dispatch import Signal

from payments.models import Payment
from payments.rules.states import Place

# Arguments: `payment`, `previous_status`. The payment's status has changed.
momo_status_changed = Signal()
# Argument: `payment`. The provider repeated SUCCESS. Receivers complete work that a crash interrupted the first time.
momo_success_repeated = Signal()
# Arguments: `payment`, `said`. The provider contradicts its own final status. If `said` is SUCCESS, it had reported
# FAILED before; we now have the money, and it is due for refund. If `said` is FAILED, it had reported SUCCESS before.
# Receivers must be idempotent, because the signal may be sent again.
payment_contested = Signal()
# Arguments: `payment`, `refund`. The payer has the money back, through the provider or by hand.
payment_refunded = Signal()
# Arguments: `payment` (the winner's) and `refund` (the payout). The winner has the prize, through the provider or by
# hand.
prize_paid = Signal()
# Argument: `payment`. Its money was paid out, and afterwards the provider took the money back from us.
payment_lost = Signal()


def _none(payment: Payment) -> Place:
    return Place.RECEIVED


def _ignore(payment: Payment) -> None: ...


def _nothing() -> Q:
    return Q(pk__in=())


@dataclass(frozen=True, slots=True)
class Use:
    """Functions that the app which uses payments provides.

    - `place_of`: return whether the money of a payment in use is received, waiting or in a match
    - `hold`: return the same as `place_of`, and lock the app's rows that could change it; the caller has locked the
      payment
    - `end_entry`: take the entry of a payment that the provider has reversed out of the queue
    - `over`: return a condition that selects payments whose entry expired without a match
    - `played`: return a condition that selects payments whose entry is in a match
    - `opponent`: return the other payment of the match, and the key of the event that records the match
    """

    place_of: Callable[[Payment], Place] = _none
    hold: Callable[[Payment], Place] = _none
    end_entry: Callable[[Payment], None] = _ignore
    over: Callable[[], Q] = _nothing
    played: Callable[[], Q] = _nothing
    opponent: Callable[[Payment], tuple[Payment, str] | None] = _ignore


_use = Use()


def register(use: Use) -> None:
    """Register the functions of the app that uses payments. Called once, when that app is ready."""
    global _use
    _use = use


def current_use() -> Use:
    """Return the registered functions. If no app has registered any, no payment counts as used."""
    return _use
