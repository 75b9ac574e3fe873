"""Payment requests are sent once, after the commit, for any response of the provider and any crash of a process."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from payments import collection as collecting
from payments import database, services, worker
from payments.models import Payment, PaymentEvent
from payments.services import create_payment
from payments.signals import momo_status_changed
from tests.payments.helpers import PHONE, asked, fresh, later, pay, polled_soon, seconds_until, settle
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)
Collection = Payment.Collection
OTHER = "+256701000002"


def ringing(phone: str) -> int:
    return collecting.seconds_ringing(Payment.objects.filter(phone=phone))


@pytest.fixture(autouse=True)
def provider(collection: Sandbox, settings: Any) -> None:
    settings.DMARK_PAY_TIMEOUT = 0.6
    collection.faults(callback="never", hang_seconds=1.5)


@pytest.fixture
def by_worker(settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"


def test_inline_the_phone_rings_at_once(collection: Sandbox) -> None:
    payment = pay()
    prompt = collection.prompts()[0]
    assert (prompt["sp_transaction_id"], prompt["msisdn"]) == (payment.transaction_id, PHONE[1:])
    assert (prompt["amount"], prompt["description"]) == ("1000.00", "PlayMatatu")
    assert (payment.collection, payment.network, payment.status) == ("asked", "mtn", "PENDING")
    assert payment.provider_id
    assert payment.asked_at is not None
    assert payment.start_at is None
    assert 3 < seconds_until(payment.next_ask_at) <= 5
    rows = PaymentEvent.objects.order_by("pk")
    assert [row.kind for row in rows] == ["requested", "claimed", "request_pending"]
    assert rows[2].http_status == 201


def test_what_is_rolled_back_is_not_asked(collection: Sandbox) -> None:
    with transaction.atomic():
        create_payment(PHONE, 1000, approved=False)
        transaction.set_rollback(True)
    assert asked(collection) == {}


def test_a_worker_asks_in_its_own_time(collection: Sandbox, by_worker: None) -> None:
    payments = [pay(f"+25677200000{number}") for number in range(5)]
    assert asked(collection) == {}
    assert {fresh(payment).collection for payment in payments} == {"due"}
    assert services.work_once() == 5
    assert asked(collection) == {payment.transaction_id: 1 for payment in payments}
    assert collecting.start_due() == 0


def test_without_collection_nobody_is_asked(collection: Sandbox, settings: Any) -> None:
    settings.DMARK_PAY_ACCOUNT_CODE = ""
    assert not collecting.is_on()
    payment = pay()
    assert (payment.collection, payment.provider, asked(collection)) == ("", "", {})


def test_an_approved_payment_is_never_asked_for(collection: Sandbox) -> None:
    payment = create_payment(PHONE, 1000, approved=True)
    assert (payment.status, payment.collection, payment.collected_at) == ("SUCCESS", "", None)
    assert asked(collection) == {}


def test_an_unknown_network_is_told_before_anything_is_written(collection: Sandbox, settings: Any) -> None:
    settings.NETWORK_PREFIXES = {"airtel": ["070"]}
    with pytest.raises(ValueError, match="network"):
        create_payment(PHONE, 1000, approved=False)
    assert not Payment.objects.exists()
    assert pay(OTHER).network == "airtel"


@pytest.mark.parametrize(
    ("fault", "state", "status"),
    [
        ("hang", "in_doubt", "PENDING"),
        ("reset", "in_doubt", "PENDING"),
        ("500", "in_doubt", "PENDING"),
        ("html", "in_doubt", "PENDING"),
        ("taken_truncated", "in_doubt", "PENDING"),
        ("400", "over", "FAILED"),
        ("429", "due", "PENDING"),
    ],
)
def test_what_is_in_doubt_is_not_asked_again(collection: Sandbox, fault: str, state: str, status: str) -> None:
    """An ambiguous request is not repeated, even if its time is due many times."""
    collection.faults(payin=fault)
    payment = pay()
    assert (payment.collection, payment.status) == (state, status)
    collection.faults(payin="ok")
    if state == "due":
        assert collecting.start_due() == 0  # The pause is not over yet.
    for _ in range(3):
        later(payment, 100)
        services.work_once()
    assert fresh(payment).collection == ("asked" if state == "due" else state)
    assert asked(collection) == {payment.transaction_id: 2 if state == "due" else 1}
    assert collection.counts()["money"]["taken"]["payin"].get(payment.transaction_id, 0) <= 1


def test_a_refused_order_says_why(collection: Sandbox) -> None:
    collection.faults(payin_kind="refused")
    payment = pay()
    assert (payment.status, payment.settled_by) == ("FAILED", "answer")
    assert payment.reason == "This number cannot be charged"


@pytest.mark.parametrize(("kind", "status"), [("successful", "SUCCESS"), ("failed", "FAILED")])
def test_an_end_at_once(collection: Sandbox, kind: str, status: str) -> None:
    collection.faults(payin_kind=kind)
    payment = pay()
    assert (payment.status, payment.collection) == (status, "over")
    assert (payment.collected_at is not None) == (status == "SUCCESS")
    # A collected payment is polled again after a day, in case it was reversed.
    assert (payment.next_ask_at is not None) == (status == "SUCCESS")
    assert not polled_soon(payment)


def test_what_never_left_is_given_up_in_the_end(collection: Sandbox, settings: Any) -> None:
    ends: list[str] = []

    def note(payment: Payment, **kwargs: Any) -> None:
        ends.append(payment.status)

    momo_status_changed.connect(note)
    collection.faults(pay_token="500")
    payment = pay()
    assert (payment.collection, payment.asked_at) == ("due", None)
    assert payment.start_at
    assert 0 < seconds_until(payment.start_at) < 2
    later(payment, worker.GIVE_UP.total_seconds())
    try:
        assert collecting.start_due() == 1
    finally:
        momo_status_changed.disconnect(note)
    payment = fresh(payment)
    assert (payment.status, payment.collection, payment.collected_at) == ("FAILED", "over", None)
    assert ends == ["FAILED"]
    assert asked(collection) == {}


@pytest.mark.parametrize("off", [False, True])
def test_who_was_not_asked_in_time_is_told_and_rung_no_more(
    collection: Sandbox, by_worker: None, settings: Any, off: bool
) -> None:
    """If no worker ran or collection was off, no prompt is sent for a stake of the day before."""
    old, new = pay(), pay(OTHER)
    later(old, 86400)
    if off:
        settings.DMARK_PAY_ACCOUNT_CODE = ""
    services.work_once()
    assert (fresh(old).status, fresh(old).collection) == ("FAILED", "over")
    assert asked(collection) == ({} if off else {new.transaction_id: 1})


def test_an_answer_that_was_written_down_twice_takes_nothing_from_another(collection: Sandbox, by_worker: None) -> None:
    """The connection was lost during the commit, so the answer is recorded again.

    Meanwhile another process has claimed the request.
    """
    payment = pay()
    claimed = collecting._claim(1)[0]
    answer = worker.ask_guarded(collecting._ask, claimed, -1e9)
    collecting._record(claimed, answer)
    later(payment, 60)
    again = collecting._claim(1)[0]
    collecting._record(claimed, answer)
    assert fresh(payment).collection == "asking"
    assert collecting._claim(1) == []
    collecting._record(again, collecting._ask(again))
    assert asked(collection) == {payment.transaction_id: 1}


def test_a_process_that_was_stopped_while_it_claimed_asks_no_more(
    collection: Sandbox, by_worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = pay()
    monkeypatch.setattr(worker, "_LONGEST_HOLD_UP", 0.2)

    def slow(limit: int) -> list[Payment]:
        claimed = collecting._claim(limit)
        time.sleep(0.3 if claimed else 0)
        return claimed

    assert worker.run(slow, collecting._ask, collecting._record, lambda: False) == 1
    assert asked(collection) == {}
    assert fresh(payment).collection == "due"


def test_an_order_is_as_old_as_the_database_says(by_worker: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong clock of the machine does not change the age of a payment request."""
    there = timezone.now() - timedelta(hours=2)
    monkeypatch.setattr(database, "now", lambda: there)
    payment = pay()
    assert payment.created_at == payment.start_at == there


def test_the_pause_grows() -> None:
    ages = [0, 1, 4, 30, 59, 600]
    assert [worker.pause(timedelta(seconds=age)).total_seconds() for age in ages] == [1, 1, 2, 15, 29.5, 30]


def test_a_claim_that_a_crash_left_is_in_doubt(collection: Sandbox, by_worker: None) -> None:
    payment = pay()
    claimed = collecting._claim(16)
    assert [one.pk for one in claimed] == [payment.pk]
    assert collecting.start_due() == 0  # The lease has not expired yet.
    assert fresh(payment).collection == "asking"
    later(payment, 3600)
    assert collecting.start_due() == 0
    payment = fresh(payment)
    assert (payment.collection, payment.start_at) == ("in_doubt", None)
    assert asked(collection) == {}
    # The process was only slow. Its answer still counts.
    collecting._record(claimed[0], collecting._ask(claimed[0]))
    assert fresh(payment).collection == "asked"
    assert asked(collection) == {payment.transaction_id: 1}


def test_a_process_that_was_stopped_asks_no_more(collection: Sandbox, by_worker: None) -> None:
    pay()
    claimed = collecting._claim(1)[0]
    answer = worker.ask_guarded(collecting._ask, claimed, -1e9)
    assert answer.said.value == "not_taken"
    assert asked(collection) == {}
    collecting._record(claimed, answer)
    assert fresh(claimed).collection == "due"


def test_an_end_that_came_before_the_answer_stands(collection: Sandbox, by_worker: None) -> None:
    """The callback arrives before the response to the payment request."""
    payment = pay()
    claimed = collecting._claim(1)[0]
    answer = collecting._ask(claimed)
    settle(payment.pk, Payment.Status.SUCCESS, by="callback")
    collecting._record(claimed, answer)
    payment = fresh(payment)
    assert (payment.status, payment.collection, payment.next_ask_at) == ("SUCCESS", "over", None)
    assert payment.provider_id == answer.provider_id


def test_an_end_from_elsewhere_keeps_an_order_from_leaving(collection: Sandbox, by_worker: None) -> None:
    payment = pay()
    settle(payment.pk, Payment.Status.SUCCESS, by="callback")
    assert services.work_once() == 0
    assert asked(collection) == {}


def test_how_long_a_phone_may_ring(collection: Sandbox) -> None:
    assert ringing(PHONE) == 0
    payment = pay()
    assert 178 <= ringing(PHONE) <= 180
    assert ringing(OTHER) == 0
    later(payment, 100)
    assert 78 <= ringing(PHONE) <= 80
    later(payment, 80)
    assert ringing(PHONE) == 0


@pytest.mark.parametrize("fault", ["hang", "500"])
def test_a_phone_may_ring_though_the_answer_was_lost(collection: Sandbox, fault: str) -> None:
    collection.faults(payin=fault)
    pay()
    assert ringing(PHONE) > 170


def test_a_phone_rings_no_more_once_there_is_an_end(collection: Sandbox) -> None:
    settle(pay().pk, Payment.Status.FAILED, by="callback")
    assert ringing(PHONE) == 0


def test_a_new_order_withdraws_one_that_nobody_began(collection: Sandbox, by_worker: None) -> None:
    first = pay()
    assert ringing(PHONE) == 0  # The request is only due, so it can be withdrawn.
    second, other = pay(), pay(OTHER)
    assert [fresh(one).collection for one in (first, second, other)] == ["withdrawn", "due", "due"]
    services.work_once()
    assert asked(collection) == {second.transaction_id: 1, other.transaction_id: 1}


def test_an_order_of_another_provider_waits(collection: Sandbox, by_worker: None) -> None:
    payment = pay()
    Payment.objects.update(provider="another")
    assert services.work_once() == 0
    assert fresh(payment).collection == "due"
    assert asked(collection) == {}


def test_slow_answers_hold_up_no_others(collection: Sandbox, by_worker: None) -> None:
    collection.faults(payin="hang", payin_every=4)
    payments = [pay(f"+2567720000{number:02}") for number in range(12)]
    started = timezone.now()
    assert collecting.start_due() == 12
    assert (timezone.now() - started).total_seconds() < 3 * 3 * 0.6
    states = [fresh(payment).collection for payment in payments]
    assert sorted(states) == ["asked"] * 9 + ["in_doubt"] * 3
    assert set(asked(collection).values()) == {1}


def test_stopping_begins_no_more(collection: Sandbox, by_worker: None) -> None:
    payment = pay()
    assert collecting.start_due(lambda: True) == 0
    assert fresh(payment).collection == "due"
