"""The interface to the app that uses payments (here the game): signals, and functions that the game registers.

Signals are sent with `send_robust` inside the transaction that makes the change.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.db.models import Q
from django.dispatch import Signal

from payments.models import Payment
from payments.rules.states import Place

# Sent when the status of a payment has changed. For a FAILED payment, the signal is sent again if a receiver failed.
# Arguments: `payment`, `previous_status`.
momo_status_changed = Signal()
# Sent if the success of a payment is reported again, or if a receiver failed, so that receivers complete interrupted
# work. Argument: `payment`.
momo_success_repeated = Signal()
# Sent when the provider contradicts the payment's final status. Can be sent again, so receivers must be idempotent.
# Arguments: `payment`, `said` (SUCCESS or FAILED; FAILED also stands for an unknown word).
payment_contested = Signal()
# Sent when the payer has received the money back, through the provider or by hand, and again if a receiver failed.
# Arguments: `payment`, `refund`.
payment_refunded = Signal()
# Sent when the winner has received the prize, through the provider or by hand, and again if a receiver failed.
# Arguments: `payment` (the winner's), `refund` (the payout).
prize_paid = Signal()
# Sent when money is lost: we have paid it out, and the provider has also taken it back. Argument: `payment`.
payment_lost = Signal()


def _none(payment: Payment) -> Place:
    return Place.RECEIVED


def _ignore(payment: Payment) -> None: ...


def _nothing() -> Q:
    return Q(pk__in=())


@dataclass(frozen=True, slots=True)
class Use:
    """Functions of the app that uses payments."""

    # Return the place of a payment's money: received, waiting or in a match.
    place_of: Callable[[Payment], Place] = _none
    # Like `place_of`, but lock the app's rows first. The caller has locked the payment.
    hold: Callable[[Payment], Place] = _none
    # End the entry of a payment that the provider has reversed, so that the entry is not matched.
    end_entry: Callable[[Payment], None] = _ignore
    over: Callable[[], Q] = _nothing  # Condition for payments whose entry expired without a match.
    newly_over: Callable[[], Q] = _nothing  # Like `over`, for payments whose `place` is `in_use`. Uses an index.
    played: Callable[[], Q] = _nothing  # Condition for payments whose entry is in a match.
    # Return the other payment of the match and the key of the event MATCHED, or None if the payment is in no match.
    opponent: Callable[[Payment], tuple[Payment, str] | None] = _ignore


_use = Use()


def register(use: Use) -> None:
    """Register the functions of the app that uses payments. The app calls this once, when it is ready."""
    global _use
    _use = use


def current_use() -> Use:
    """Return the registered functions. Without a registered app, the defaults of `Use` apply."""
    return _use
