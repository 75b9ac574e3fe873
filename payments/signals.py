"""The interface to the app that uses payments (here the game): signals, and functions that this app registers.

Signals are sent with `send_robust` inside the transaction that makes the change.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.db.models import Q
from django.dispatch import Signal

from payments.models import Payment
from payments.rules.states import Place

# Sent when the status of a payment has changed. Arguments: `payment`, `previous_status`.
momo_status_changed = Signal()
# Sent if the provider reports SUCCESS again, or if a receiver failed when the success was first signaled. Receivers
# then complete the work that a crash or an error has interrupted. Argument: `payment`.
momo_success_repeated = Signal()
# Sent when the provider has contradicted the payment's final status. Arguments: `payment`, `said`. If `said` is
# SUCCESS, the money has arrived after all and is due for refund. If `said` is FAILED, the money had arrived, and the
# provider now reports Failed or an unknown word. The signal may be sent again, so receivers must be idempotent.
payment_contested = Signal()
# Sent when the payer has received the money back, through the provider or by hand. Arguments: `payment`, `refund`.
payment_refunded = Signal()
# Sent when the winner has received the prize, through the provider or by hand. Arguments: `payment` (the winner's),
# `refund` (the payout).
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
    """Functions of the app that uses payments.

    `place_of`: return where the money of a payment is: received, waiting or in a match. `hold`: lock the app's rows
    that determine this place, and return the place. The caller has locked the payment. `end_entry`: end the entry of a
    payment that the provider has reversed, so that the entry is not matched.

    `over`: return a condition for payments whose entry expired without a match. `newly_over`: return the same
    condition, limited to payments whose column `place` is `in_use`, so that the database can use an index. `played`:
    return a condition for payments whose entry is in a match. `opponent`: return the other payment of the match and the
    key of the event that records the match, or None if the payment is in no match.
    """

    place_of: Callable[[Payment], Place] = _none
    hold: Callable[[Payment], Place] = _none
    end_entry: Callable[[Payment], None] = _ignore
    over: Callable[[], Q] = _nothing
    newly_over: Callable[[], Q] = _nothing
    played: Callable[[], Q] = _nothing
    opponent: Callable[[Payment], tuple[Payment, str] | None] = _ignore


_use = Use()


def register(use: Use) -> None:
    """Register the functions of the app that uses payments. The app calls this once, when it is ready."""
    global _use
    _use = use


def current_use() -> Use:
    """Return the registered functions. Without a registered app, the defaults of `Use` apply."""
    return _use
