"""What a payment's end does to its entry. Connected before the texts, which tell what came of it."""

from typing import Any

from django.db import transaction
from django.dispatch import receiver

from game.models import Entry
from game.rules.ending import give_up
from game.rules.locks import locked_player
from game.rules.opening import open_paid
from payments.models import Payment
from payments.signals import momo_status_changed, momo_success_repeated


@receiver(momo_status_changed)
def settle_entry(sender: Any, payment: Payment, previous_status: str, **kwargs: Any) -> None:
    with transaction.atomic():
        if payment.status == Payment.Status.SUCCESS:
            open_paid(payment)
        elif payment.status == Payment.Status.FAILED:
            # Also for the text that follows: two failures of one phone are counted one after the other.
            locked_player(payment.phone)
            entry = Entry.objects.filter(payment=payment).first()
            if entry is not None:
                give_up(entry, "payment_failed")


@receiver(momo_success_repeated)
def open_again(sender: Any, payment: Payment, **kwargs: Any) -> None:
    """A repeated SUCCESS opens what a crash or a failure left unopened."""
    with transaction.atomic():
        open_paid(payment)
