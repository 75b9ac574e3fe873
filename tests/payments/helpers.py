"""Helpers for payments, payment requests and DMarkPay's notifications."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.test import Client, override_settings

from payments import database, journal, matches, refunds
from payments.collection import signer
from payments.journal import Cause
from payments.matches import Refused
from payments.models import Payment, Refund
from payments.rules.states import Kind, Word
from payments.services import create_payment
from tests.sandbox import Sandbox

PHONE = "+256772000001"


def pay(phone: str = PHONE, amount: int = 1000) -> Payment:
    """Create a payment that will be requested. Read it again after the commit."""
    with transaction.atomic():
        payment = create_payment(phone, amount, approved=False)
    payment.refresh_from_db()
    return payment


def by_others(phone: str = PHONE, amount: int = 1000) -> Payment:
    """Create a payment that a third party collects and reports by callbacks."""
    with override_settings(DMARK_PAY_ACCOUNT_CODE=""):
        return create_payment(phone, amount, approved=False)


def settle(payment_id: int, said: Payment.Status, *, by: str, reason: str = "") -> Payment:
    """Apply a final status that the provider has just reported."""
    word = Word.SUCCESSFUL if said == Payment.Status.SUCCESS else Word.FAILED
    with journal.writing():
        payment = matches.locked(payment_id).payment
        cause = Cause(by, reason=reason)
        matches.take_word(payment, word, began=database.now(), polled=by == "asking", cause=cause)
    return payment


def paid_late(sandbox: Sandbox, phone: str = PHONE, amount: int = 1000) -> Payment:
    """Create a payment that DMarkPay reported as failed and later as paid, so that it is due for refund."""
    payment = pay(phone, amount)
    settle(payment.pk, Payment.Status.FAILED, by="asking")
    sandbox.server.state.money.transactions[fresh(payment).provider_id].status = "Successful"
    settle(payment.pk, Payment.Status.SUCCESS, by="asking")
    return fresh(payment)


def fresh(payment: Payment) -> Payment:
    return Payment.objects.get(pk=payment.pk)


def later(payment: Payment, seconds: float) -> None:
    """Move all times of one payment into the past."""
    names = ("created_at", "asked_at", "start_at", "next_ask_at", "last_ask_at", "settled_at")
    times = {name: getattr(fresh(payment), name) for name in names}
    moved = {name: value - timedelta(seconds=seconds) for name, value in times.items() if value is not None}
    Payment.objects.filter(pk=payment.pk).update(**moved)


def address(payment: Payment) -> str:
    return f"/api/v1/momo/dmarkpay/{signer().sign(str(payment.pk))}/"


def notice(client: Client, payment: Payment, **body: Any) -> int:
    """Send DMarkPay's notification as JSON. Return the status of our response."""
    said = {"transaction_id": payment.provider_id, "sp_transaction_id": payment.transaction_id, "status": "Successful"}
    return client.post(address(payment), {**said, **body}, content_type="application/json").status_code


def asked(sandbox: Sandbox, kind: str = "payin") -> dict[str, int]:
    """Return the number of requests by our reference, including failed requests."""
    return dict(sandbox.counts()["money"]["asked"][kind])


def polled_soon(payment: Payment) -> bool:
    """Return True if the next poll is earlier than the routine poll a day after the payment."""
    return payment.next_ask_at is not None and seconds_until(payment.next_ask_at) < 80_000


def seconds_until(moment: Any) -> float:
    return float((moment - database.now()).total_seconds())


def end_contest(payment_id: int) -> bool:
    """Record that the money of a contested payment is with us. Return False if the payment is not contested."""
    try:
        matches.judge(payment_id, Kind.CONTEST_WITH_US, actor="anna", note="looked up")
    except Refused:
        return False
    return True


def order_payouts(payments: "QuerySet[Payment]", actor: str) -> list[Refund]:
    """Order the refunds of those `payments` that are due. Return the refunds that this call ordered."""
    return _each(payments, lambda key: refunds.order_refund(key, actor))


def record_by_hand(payments: "QuerySet[Payment]", actor: str, note: str) -> list[Refund]:
    """Record manual refunds of those `payments` that are due. Return the refunds that this call recorded."""
    return _each(payments, lambda key: refunds.refund_by_hand(key, actor, note))


def _each(payments: "QuerySet[Payment]", refund: Callable[[int], Refund]) -> list[Refund]:
    journal.adopt()
    done = []
    for key in refunds.due().filter(pk__in=payments.values("pk")).order_by("pk").values_list("pk", flat=True):
        with suppress(Refused):
            done.append(refund(key))
    return done
