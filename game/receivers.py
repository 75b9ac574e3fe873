"""Signal receivers that activate or end an entry when its payment has succeeded or failed.

These receivers must be connected before the receivers in `notifications`, whose messages report the result.
"""

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
            # The message about the failure is queued later in this transaction, and has a daily limit. Because of this
            # lock, concurrent failures cannot exceed that limit.
            locked_player(payment.phone)
            entry = Entry.objects.filter(payment=payment).first()
            if entry is not None:
                give_up(entry, "payment_failed")


@receiver(momo_success_repeated)
def activate_again(sender: Any, payment: Payment, **kwargs: Any) -> None:
    """If the provider repeats SUCCESS, activate an entry that a crash or an error has left inactive."""
    _activate(payment)


def _activate(payment: Payment) -> None:
    with journal.writing():
        entry = activate_paid(payment)
    if entry is not None:
        # The entry is saved now. Let the receivers in `notifications` read it without a query.
        entry.payment = payment
