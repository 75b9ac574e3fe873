"""Signal receivers that activate or end a stake. They must run before the receivers in `notifications`."""

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
def settle_entry(sender: Any, payment: Payment, **kwargs: Any) -> None:
    if payment.status == Payment.Status.SUCCESS:
        _activate(payment)
    elif payment.status == Payment.Status.FAILED:
        with journal.writing():
            # Lock the player, because `notifications` counts the player's `payment_failed` messages.
            locked_player(payment.phone)
            entry = Entry.objects.filter(payment=payment).first()
            if entry is not None:
                give_up(entry, "payment_failed")


@receiver(momo_success_repeated)
def activate_again(sender: Any, payment: Payment, **kwargs: Any) -> None:
    """Activate the entry if a crash or an error left it inactive when its payment succeeded."""
    _activate(payment)


def _activate(payment: Payment) -> None:
    with journal.writing():
        entry = activate_paid(payment)
    if entry is not None:
        # Cache the entry on the payment, so that the receivers in `notifications` need no query.
        entry.payment = payment
