"""Simultaneous actions: one payment request, one final status, one refund. On PostgreSQL they run in parallel."""

import json
from collections import Counter
from functools import partial
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from payments import collection as collecting
from payments import status_polling as asking
from payments.models import Callback, Payment, Refund
from payments.signals import momo_status_changed, payment_contested, payment_refunded
from tests.crowd import together
from tests.payments.helpers import asked, by_others, fresh, later, notice, order_payouts, paid_late, pay, record_by_hand
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)
IN_EARNEST = connection.vendor == "postgresql"


@pytest.fixture(autouse=True)
def provider(collection: Sandbox, settings: Any) -> None:
    settings.DMARK_PAY_TIMEOUT = 10
    collection.faults(callback="never")


@pytest.fixture
def effects() -> Any:
    """The number of signals of each kind."""
    told: Counter[tuple[str, int]] = Counter()

    def changed(payment: Payment, **kwargs: Any) -> None:
        told[payment.status, payment.pk] += 1

    def contested(payment: Payment, **kwargs: Any) -> None:
        told["contested", payment.pk] += 1

    def refunded(payment: Payment, **kwargs: Any) -> None:
        told["refunded", payment.pk] += 1

    receivers = [(momo_status_changed, changed), (payment_contested, contested), (payment_refunded, refunded)]
    for signal, receiver in receivers:
        signal.connect(receiver)
    yield told
    for signal, receiver in receivers:
        signal.disconnect(receiver)


def callback(payment: Payment, status: str) -> int:
    body = {
        "transaction_id": payment.transaction_id,
        "phone_number": payment.phone,
        "amount": payment.amount,
        "status": status,
    }
    return (
        Client()
        .post(
            "/api/v1/momo/callback",
            json.dumps(body),
            content_type="application/json",
            headers={"X-Callback-Secret": settings.MOMO_CALLBACK_SECRET},
        )
        .status_code
    )


def test_poller_and_callback_at_the_same_moment(collection: Sandbox, effects: Any, settings: Any) -> None:
    """In a Go service, a poll and a callback called the same function, which read before it locked.

    The payment was credited twice.
    """
    # If a callback settles the payment that it has read without a lock, one round in five detects it.
    times = 25 if IN_EARNEST else 15
    settings.SMS_DELIVERY = "worker"
    payments = [pay(f"+25678{number:07}") for number in range(times)]
    assert collecting.start_due() == times
    for payment in payments:
        collection.tap(payment.transaction_id, "pay")
        later(payment, 5)
        payment.refresh_from_db()
        answers = together(
            partial(asking.poll, payment.pk),
            partial(callback, payment, "SUCCESS"),
            partial(notice, Client(), payment),
        )
        assert answers[1:] == [200, 200]
    assert effects == {("SUCCESS", payment.pk): 1 for payment in payments}
    assert Payment.objects.filter(status="SUCCESS", collected_at__isnull=False).count() == times


def test_a_replay_by_many_at_once(collection: Sandbox, effects: Any) -> None:
    """PAYONE/magento-2#279: a 'paid' callback that arrived twice doubled the amount."""
    workers = 16 if IN_EARNEST else 4
    payment = by_others()
    assert together(*[partial(callback, payment, "SUCCESS")] * workers) == [200] * workers
    assert effects == {("SUCCESS", payment.pk): 1}
    assert Callback.objects.filter(applied=True).count() == 1
    assert Callback.objects.count() == workers
    assert list(payment.events.filter(kind="word").values_list("said", flat=True)) == ["successful"]


def test_contradictions_at_the_same_moment(effects: Any, collection: Sandbox) -> None:
    """The first status is final. The other one is recorded as a contradiction."""
    for number in range(20 if IN_EARNEST else 4):
        payment = by_others(f"+25677100{number:04}")
        together(partial(callback, payment, "SUCCESS"), partial(callback, payment, "FAILED"))
        payment = fresh(payment)
        assert payment.contested
        assert payment.collected_at is not None
        assert payment.refund_due == (payment.status == "FAILED")
        assert effects[payment.status, payment.pk] == effects["contested", payment.pk] == 1


def test_one_order_however_many_workers(collection: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    payments = [pay(f"+25677200{number:04}") for number in range(100 if IN_EARNEST else 12)]
    started = together(*[collecting.start_due] * 4)
    assert sum(started) == len(payments)
    assert asked(collection) == {payment.transaction_id: 1 for payment in payments}


def test_one_question_back_however_many_workers(collection: Sandbox, settings: Any) -> None:
    payments = [pay(f"+25677300{number:04}") for number in range(40 if IN_EARNEST else 5)]
    for payment in payments:
        later(payment, 50)
    assert sum(together(*[asking.poll_due] * 4)) == len(payments)
    assert asked(collection, "status") == {payment.transaction_id: 1 for payment in payments}


def test_whoever_presses_at_the_same_moment_refunds_once(collection: Sandbox, effects: Any) -> None:
    for number in range(12 if IN_EARNEST else 3):
        payment = paid_late(collection, f"+25677400{number:04}")
        rows = Payment.objects.filter(pk=payment.pk)
        ordered = together(
            partial(order_payouts, rows, "one"),
            partial(order_payouts, rows, "two"),
            partial(record_by_hand, rows, "three", "cash"),
        )
        assert sum(map(len, ordered)) == 1
        refund = Refund.objects.get(payment=payment)
        assert asked(collection, "payout").get(refund.reference, 0) == (refund.how == "payout")
        assert effects["refunded", payment.pk] == 1
