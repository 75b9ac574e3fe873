"""What happens to a payment."""

import logging

from django.db import transaction
from django.utils import timezone

from payments.models import Callback, Payment
from payments.signals import momo_status_changed, momo_success_repeated

logger = logging.getLogger("payments")


def create_payment(phone: str, amount: int, *, approved: bool) -> Payment:
    """A payment of `amount` whole UGX from `phone` (E.164); `approved` ones are paid from the start, silently."""
    payment = Payment(phone=phone, amount=amount)
    if approved:
        payment.status, payment.settled_at = Payment.Status.SUCCESS, timezone.now()
    payment.save()
    return payment


def receive_callback(payment: Payment, status: str, body: str) -> None:
    """Store what the provider said; move the payment if it was pending. Repeats are harmless."""
    with transaction.atomic():
        locked = Payment.objects.select_for_update().get(pk=payment.pk)
        previous = locked.status
        moves = previous == Payment.Status.PENDING and status != Payment.Status.PENDING
        Callback.objects.create(payment=locked, status=status, body=body, applied=moves)
        if moves:
            locked.status, locked.settled_at = status, timezone.now()
            locked.save(update_fields=["status", "settled_at"])
            momo_status_changed.send_robust(Payment, payment=locked, previous_status=previous)
        elif status == previous == Payment.Status.SUCCESS and locked.callbacks.filter(applied=True).exists():
            # One that was approved at once has left nothing undone, and gets no text.
            momo_success_repeated.send_robust(Payment, payment=locked)


def refuse_callback(payment: Payment | None, status: str, body: str, refusal: str) -> None:
    """Store what the provider said and we cannot book: money may be behind it, for an operator to find."""
    callback = Callback.objects.create(payment=payment, status=status, body=body, refusal=refusal)
    logger.warning("A callback was refused: %s", refusal, extra={"event": "payments.refused", "callback": callback.pk})
