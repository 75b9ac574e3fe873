"""The one place where a payment's end is decided, whoever brings the word: a callback, our own asking, an operator."""

import logging

from django.db import transaction

from payments import clock
from payments.models import Callback, Payment
from payments.signals import momo_status_changed, momo_success_repeated, payment_contested

logger = logging.getLogger("payments")

Status = Payment.Status


def settle(
    payment_id: int, said: Payment.Status, *, by: str, reason: str = "", callback: Callback | None = None
) -> Payment:
    """Take the provider's word under the payment's lock; `by`: callback, asking, answer or operator.

    PENDING moves once, to SUCCESS or FAILED. A later contradiction leaves the status and marks the payment `contested`;
    money that came after FAILED is refund due. A repeat changes nothing. Returns the payment as it is then.
    """
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=payment_id)
        previous = payment.status
        if said == Status.PENDING:
            return payment
        if previous == Status.PENDING:
            _end(payment, said, by, reason)
            if callback is not None:
                Callback.objects.filter(pk=callback.pk).update(applied=True)
            momo_status_changed.send_robust(Payment, payment=payment, previous_status=previous)
        elif said != previous:
            _contest(payment, said)
        elif said == Status.SUCCESS:
            _repeat(payment)
        return payment


def settle_open(payment_id: int, said: Payment.Status, *, reason: str) -> Payment | None:
    """What an operator has found about a payment without an end. None: it has one by now, which stands."""
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=payment_id)
        if payment.status != Status.PENDING:
            return None
        return settle(payment_id, said, by="operator", reason=reason)


def _end(payment: Payment, said: Payment.Status, by: str, reason: str) -> None:
    now = clock.now()
    payment.status, payment.settled_at, payment.settled_by, payment.reason = said, now, by, reason[:200]
    if said == Status.SUCCESS:
        payment.collected_at = now
    if payment.collection:
        payment.collection = Payment.Collection.OVER
    payment.start_at = None
    # While we ask or order, only a notice plans another look, and it may say the contrary.
    if by not in ("asking", "answer"):
        payment.next_ask_at = None
    payment.save(
        update_fields=[
            "status",
            "settled_at",
            "settled_by",
            "reason",
            "collected_at",
            "collection",
            "start_at",
            "next_ask_at",
        ]
    )


def _repeat(payment: Payment) -> None:
    if payment.collected_at is None:
        # It was approved at once, which left nothing undone and is not texted; but now there is money behind it.
        payment.collected_at = clock.now()
        payment.save(update_fields=["collected_at"])
    elif payment.settled_by:
        momo_success_repeated.send_robust(Payment, payment=payment)


def _contest(payment: Payment, said: Payment.Status) -> None:
    """The provider contradicts itself. A repeat is told again: a receiver may have failed the first time."""
    if said == Status.SUCCESS:
        new = payment.collected_at is None
        if new:
            payment.collected_at, payment.refund_due = clock.now(), True
    else:
        new = not payment.contested
    if new:
        payment.contested, payment.contested_at = True, clock.now()
        payment.save(update_fields=["collected_at", "refund_due", "contested", "contested_at"])
        logger.warning(
            "Payment %s is contested: it was %s, and the provider now says %s.",
            payment.pk,
            payment.status,
            said,
            extra={"event": "payments.contested", "payment": payment.pk},
        )
    if payment.refunded_at is None:
        payment_contested.send_robust(Payment, payment=payment, said=said)


def end_contest(payment_id: int) -> bool:
    """An operator has found that the money of a contested SUCCESS is with us after all. False: nothing to end."""
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=payment_id)
        if not payment.contested or payment.status != Status.SUCCESS:
            return False
        payment.contested = False
        payment.save(update_fields=["contested"])
        return True
