"""Settles the entry of a payment that ended. Connected before `notifications`, which report the result."""

from typing import Any

from django.dispatch import receiver

from game.models import Entry
from game.rules.ending import give_up
from game.rules.locks import locked_player
from game.rules.matching import activate_paid
from payments import journal
from payments.models import Payment
from payments.signals import momo_status_changed, momo_success_repeated


@receiver(momo_status_changed)
def settle_entry(sender: Any, payment: Payment, previous_status: str, **kwargs: Any) -> None:
    if payment.status == Payment.Status.SUCCESS:
        _activate(payment)
    elif payment.status == Payment.Status.FAILED:
        with journal.writing():
            # Also for the message that follows: two failures of one phone are counted one after the other.
            locked_player(payment.phone)
            entry = Entry.objects.filter(payment=payment).first()
            if entry is not None:
                give_up(entry, "payment_failed")


@receiver(momo_success_repeated)
def activate_again(sender: Any, payment: Payment, **kwargs: Any) -> None:
    """Activate on a repeated SUCCESS what a crash or a failure left inactive."""
    _activate(payment)


def _activate(payment: Payment) -> None:
    with journal.writing():
        entry = activate_paid(payment)
    if entry is not None:
        # Kept on the payment only now that it is written: the receivers of the messages use it without a query.
        entry.payment = payment
