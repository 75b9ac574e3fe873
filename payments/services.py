"""Taking a payment: what the game calls when a player stakes."""

from django.db import transaction

from payments import clock, collecting
from payments.models import Payment


def create_payment(phone: str, amount: int, *, approved: bool, description: str = "PlayMatatu") -> Payment:
    """A payment of `amount` whole UGX from `phone` (E.164), in the caller's transaction.

    `approved` ones are paid from the start, silently. Any other is asked for after commit where collection is on
    (`collecting.is_on()`), with `description` on the payer's phone; else somebody else collects and calls back.
    Raises ValueError where collection is on and the number's network is unknown (`phones.network_of`).
    """
    payment = Payment(phone=phone, amount=amount, created_at=clock.now())
    if approved:
        payment.status, payment.settled_at = Payment.Status.SUCCESS, payment.created_at
        payment.save()
        return payment
    with transaction.atomic():
        collecting.order(payment, description)
        payment.save()
        collecting.set_off(payment)
    return payment
