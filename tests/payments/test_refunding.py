"""Refunds are sent once, never repeated if ambiguous, and never sent for money that is in a match or was taken back."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.db.models import F

from payments import matches, refunds, services, status_polling, worker
from payments.models import Payment, PaymentEvent, Refund
from payments.rules.states import Kind
from payments.services import create_payment
from payments.signals import payment_refunded
from tests.payments.helpers import (
    asked,
    end_contest,
    fresh,
    later,
    order_payouts,
    paid_late,
    pay,
    polled_soon,
    record_by_hand,
    settle,
)
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)
ALL = Payment.objects.all()


@pytest.fixture(autouse=True)
def provider(collection: Sandbox, settings: Any) -> None:
    settings.DMARK_PAY_TIMEOUT = 0.6
    collection.faults(callback="never", hang_seconds=1.5)


@pytest.fixture
def due(collection: Sandbox) -> Payment:
    """A payment whose money arrived after the provider had reported FAILED."""
    return paid_late(collection)


def back_by(refund: Refund, seconds: float) -> None:
    for name in ("ordered_at", "start_at"):
        if value := getattr(refund, name):
            Refund.objects.filter(pk=refund.pk).update(**{name: value - timedelta(seconds=seconds)})


def test_it_is_paid_to_the_number_that_paid(collection: Sandbox, due: Payment) -> None:
    told: list[tuple[int, str]] = []

    def note(payment: Payment, refund: Refund, **kwargs: Any) -> None:
        told.append((payment.pk, refund.state))

    payment_refunded.connect(note)
    try:
        refund = order_payouts(ALL, "anna")[0]
    finally:
        payment_refunded.disconnect(note)
    refund.refresh_from_db()
    assert (refund.state, refund.actor, refund.provider) == ("succeeded", "anna", "dmarkpay")
    assert refund.ended_at is not None
    assert told == [(due.pk, "succeeded")]
    body = next(each for each in collection.requests() if "payout" in each["path"])["body"]
    assert (body["msisdn"], body["amount"]) == (due.phone[1:], "1000.00")
    assert body["sp_transaction_id"] == refund.reference != due.transaction_id
    payment = fresh(due)
    assert payment.refunded_at is not None
    assert not payment.contested  # The late money was refunded.
    assert not refunds.due().exists()
    assert not order_payouts(ALL, "anna")


def test_messages_that_cannot_be_sent_do_not_keep_back_a_later_one(collection: Sandbox) -> None:
    lost = {paid_late(collection, f"+2567720000{number}").pk for number in range(10, 20)}
    later_one = paid_late(collection, "+256772000020")
    heard: set[int] = set()
    is_locked = True

    def tell(payment: Payment, **kwargs: Any) -> None:
        if is_locked or payment.pk in lost:
            raise ValueError("no message can be queued")
        heard.add(payment.pk)

    payment_refunded.connect(tell)
    try:
        record_by_hand(ALL, "anna", "cash")
        is_locked = False
        assert Refund.objects.filter(signal_due=True).count() == 11
        for _ in range(10):
            _told, failed = services.tell_again()
            assert failed >= 9  # the task runs less and less often while messages fail
    finally:
        payment_refunded.disconnect(tell)
    assert heard == {later_one.pk}
    assert Refund.objects.filter(signal_due=True).count() == 10


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ("hang", "in_doubt"),
        ("taken_reset", "in_doubt"),
        ("500", "in_doubt"),
        ("html", "in_doubt"),
        ("400", "failed"),
        ("429", "ordered"),
    ],
)
def test_the_states(collection: Sandbox, due: Payment, fault: str, state: str) -> None:
    collection.faults(payout=fault)
    refund = order_payouts(ALL, "anna")[0]
    refund.refresh_from_db()
    assert refund.state == state
    assert refund.reason
    assert PaymentEvent.objects.filter(kind__startswith="payout_", http_status__isnull=False).count() <= 1
    # An ambiguous refund is not due, so nobody can order it again, and no worker repeats it.
    assert refunds.due().exists() == (state == "failed")
    collection.faults(payout="ok")
    back_by(refund, 120)
    services.work_once()
    refund.refresh_from_db()
    assert refund.state == ("succeeded" if state == "ordered" else state)
    assert asked(collection, "payout") == {refund.reference: 2 if state == "ordered" else 1}


def test_pending_is_in_doubt(collection: Sandbox, due: Payment) -> None:
    collection.faults(payout_kind="pending")
    refund = order_payouts(ALL, "anna")[0]
    refund.refresh_from_db()
    assert (refund.state, bool(refund.provider_id)) == ("in_doubt", True)


def test_a_refusal_can_be_tried_again_under_another_name(collection: Sandbox, due: Payment) -> None:
    collection.faults(payout_kind="failed")
    first = order_payouts(ALL, "anna")[0]
    collection.faults(payout_kind="successful")
    second = order_payouts(ALL, "anna")[0]
    assert first.reference != second.reference
    assert sorted(Refund.objects.values_list("state", flat=True)) == ["failed", "succeeded"]


def test_a_worker_pays_out(collection: Sandbox, due: Payment, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    refund = order_payouts(ALL, "anna")[0]
    assert asked(collection, "payout") == {}
    assert not refunds.due().exists()
    assert services.work_once() == 2  # One poll and one payout.
    refund.refresh_from_db()
    assert refund.state == "succeeded"


def test_what_a_crash_left_is_in_doubt(collection: Sandbox, due: Payment, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    refund = order_payouts(ALL, "anna")[0]
    status_polling.poll_due()
    claimed = refunds._claim(1)[0]
    assert refunds.pay_out_due() == 0
    back_by(claimed, 3600)
    assert refunds.pay_out_due() == 0
    refund.refresh_from_db()
    assert refund.state == "in_doubt"
    assert asked(collection, "payout") == {}
    # The process was only slow. Its answer settles the ambiguous payout.
    refunds._record(claimed, refunds._ask(claimed))
    refund.refresh_from_db()
    assert refund.state == "succeeded"


def test_what_never_left_is_given_up_in_the_end(collection: Sandbox, due: Payment) -> None:
    cache.clear()  # Remove the token that the payment request used.
    collection.faults(pay_token="500")
    refund = order_payouts(ALL, "anna")[0]
    back_by(refund, 86400)
    services.work_once()
    refund.refresh_from_db()
    assert (refund.state, asked(collection, "payout")) == ("failed", {})
    assert refunds.due().exists()


def test_an_answer_that_was_written_down_twice_pays_nothing_twice(
    collection: Sandbox, due: Payment, settings: Any
) -> None:
    """The connection was lost during the commit, so the answer is recorded again.

    Meanwhile another process has claimed the payout.
    """
    settings.SMS_DELIVERY = "worker"
    refund = order_payouts(ALL, "anna")[0]
    status_polling.poll_due()
    claimed = refunds._claim(1)[0]
    answer = worker.ask_guarded(refunds._ask, claimed, -1e9)
    refunds._record(claimed, answer)
    back_by(refund, 60)
    status_polling.poll_due()
    again = refunds._claim(1)[0]
    refunds._record(claimed, answer)
    assert refunds._claim(1) == []
    back_by(again, 3600)
    refunds.sweep()
    refunds._record(claimed, answer)
    refund.refresh_from_db()
    assert refund.state == "in_doubt"


def test_a_payout_whose_provider_is_gone_is_due_again(collection: Sandbox, due: Payment, settings: Any) -> None:
    """Otherwise the refund could be neither paid out nor recorded by hand."""
    settings.SMS_DELIVERY = "worker"
    refund = order_payouts(ALL, "anna")[0]
    settings.DMARK_PAY_ACCOUNT_CODE = ""
    services.work_once()
    assert not refunds.due().exists()  # The setting could be restored at any moment.
    back_by(refund, worker.GIVE_UP.total_seconds())
    assert services.work_once() == 1
    refund.refresh_from_db()
    assert (refund.state, refund.start_at) == ("failed", None)
    assert record_by_hand(ALL, "anna", "cash")
    assert asked(collection, "payout") == {}


def test_an_ordered_payout_is_polled_until_an_answer_comes(collection: Sandbox, due: Payment, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    collection.faults(pay_status="500")
    order_payouts(ALL, "anna")
    assert status_polling.poll_due() == 1
    assert polled_soon(fresh(due))
    later(due, 60)
    collection.faults(pay_status="ok")
    services.work_once()
    services.work_once()
    assert fresh(due).place == "refunded"


def test_a_payout_that_no_poll_confirms_for_a_day_does_not_end_the_routine_polls(
    collection: Sandbox, due: Payment, settings: Any
) -> None:
    """Otherwise a reversal without a notification would not be found."""
    settings.SMS_DELIVERY = "worker"
    collection.faults(pay_status="500")
    refund = order_payouts(ALL, "anna")[0]
    back_by(refund, 86400)
    ALL.update(payout_ordered_at=F("payout_ordered_at") - timedelta(days=1))
    services.work_once()
    payment = fresh(due)
    assert payment.place == "refund_due"
    assert payment.next_ask_at is not None
    assert not polled_soon(payment)


def test_a_payout_that_is_not_accepted_for_ten_minutes_is_due_again(
    collection: Sandbox, due: Payment, settings: Any
) -> None:
    settings.SMS_DELIVERY = "worker"
    collection.faults(payout="429")
    order_payouts(ALL, "anna")
    status_polling.poll_due()
    [claimed] = refunds._claim(1)
    back_by(claimed, worker.GIVE_UP.total_seconds())
    claimed.refresh_from_db()
    refunds._record(claimed, refunds._ask(claimed))
    claimed.refresh_from_db()
    assert claimed.state == "failed"
    assert refunds.due().get() == due


@pytest.mark.parametrize("ordered_again", [False, True])
def test_a_payout_went_out_after_all(
    collection: Sandbox, due: Payment, settings: Any, caplog: pytest.LogCaptureFixture, ordered_again: bool
) -> None:
    """An operator marked the payout as not paid out too early, and then the answer arrived. An error is logged."""
    settings.SMS_DELIVERY = "worker"
    refund = order_payouts(ALL, "anna")[0]
    status_polling.poll_due()
    claimed = refunds._claim(1)[0]
    back_by(claimed, 3600)
    refunds.sweep()
    assert refunds.resolve(refund.pk, went_out=False, actor="boss")
    if ordered_again:
        order_payouts(ALL, "anna")
    refunds._record(claimed, refunds._ask(claimed))
    refund.refresh_from_db()
    assert refund.state == "succeeded"
    # The second order is cancelled, and no other can be made, so nothing is paid twice.
    assert refund.shares.get().open
    assert not Refund.objects.filter(state="ordered").exists()
    assert "may be given back twice" not in caplog.text
    assert fresh(due).refunded_at is not None
    assert not refunds.due().exists()


def test_what_is_not_owed_is_not_refunded(collection: Sandbox) -> None:
    pending, failed, free = (
        pay("+256772000011"),
        pay("+256772000012"),
        create_payment("+256772000013", 5, approved=True),
    )
    settle(failed.pk, Payment.Status.FAILED, by="callback")
    Payment.objects.update(refund_due=True)  # Despite the mark, there is no money.
    assert not refunds.due().exists()
    assert not order_payouts(ALL, "anna")
    assert not record_by_hand(ALL, "anna", "cash")
    assert {pending.pk, failed.pk, free.pk} == set(ALL.values_list("pk", flat=True))


def test_what_the_provider_took_back_is_judged_first(collection: Sandbox) -> None:
    payment = pay()
    settle(payment.pk, Payment.Status.SUCCESS, by="callback")
    Payment.objects.update(refund_due=True)
    settle(payment.pk, Payment.Status.FAILED, by="callback")
    assert not refunds.due().exists()
    assert not order_payouts(ALL, "anna")
    assert end_contest(payment.pk)
    assert not end_contest(payment.pk)
    assert refunds.due().exists()
    settle(payment.pk, Payment.Status.FAILED, by="callback")
    assert not record_by_hand(ALL, "anna", "the provider reversed it")
    matches.judge(payment.pk, Kind.CONTEST_GONE, actor="anna", note="the provider reversed it")
    assert (fresh(payment).place, fresh(payment).contested, refunds.due().exists()) == ("", False, False)


def test_without_a_provider_only_by_hand(due: Payment, settings: Any) -> None:
    settings.DMARK_PAY_ACCOUNT_CODE = ""
    assert not order_payouts(ALL, "anna")
    assert record_by_hand(ALL, "anna", "cash")


def test_the_database_refuses_a_second_one(due: Payment) -> None:
    """The database refuses a second open payout, even if the code has a bug."""
    values = {"payment": due, "amount": 1000, "how": "payout", "actor": "x"}
    Refund.objects.create(**values, state="failed")
    Refund.objects.create(**values, state="in_doubt")
    for state in ("ordered", "started", "succeeded", "in_doubt"):
        with pytest.raises(IntegrityError), transaction.atomic():
            Refund.objects.create(**values, state=state)


def test_a_doubt_is_ended_once(collection: Sandbox, due: Payment) -> None:
    collection.faults(payout="500")
    refund = order_payouts(ALL, "anna")[0]
    assert refunds.resolve(refund.pk, went_out=True, actor="boss")
    assert not refunds.resolve(refund.pk, went_out=False, actor="boss")
    assert not refunds.resolve(10**9, went_out=True, actor="boss")
    assert fresh(due).refunded_at is not None


def test_a_success_after_the_refund_changes_nothing(collection: Sandbox, due: Payment) -> None:
    order_payouts(ALL, "anna")
    settle(due.pk, Payment.Status.SUCCESS, by="callback")
    payment = fresh(due)
    assert not payment.contested
    assert not payment.refund_due
    assert not refunds.due().exists()
