"""Status polling: the schedule, and notifications that prove nothing."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from payments import services, status_polling
from payments import status_polling as asking
from payments.models import Callback, Payment, PaymentEvent
from payments.providers import Answer, Said
from payments.signals import momo_status_changed, payment_contested
from tests.conftest import wait_for
from tests.payments.helpers import PHONE, address, asked, fresh, later, notice, pay, polled_soon, seconds_until
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def provider(collection: Sandbox, settings: Any) -> None:
    settings.DMARK_PAY_TIMEOUT = 0.6
    collection.faults(callback="never", hang_seconds=1.5)


def test_the_schedule() -> None:
    """Polls are made after 5, 10, 20 and 40 s, each minute, and after half an hour every ten minutes, for a day."""
    at, times = 0.0, []
    while (pause := status_polling.next_pause(at)) is not None:
        at += pause
        times.append(at)
    assert times[:6] == [5, 10, 20, 40, 100, 160]
    assert times[31:35] == [1720, 1780, 1840, 2440]
    assert times[-1] >= 86400
    assert len(times) < 180
    assert status_polling.next_pause(-3600) == 5  # The database's clock was set back after the request.


def test_what_was_paid_is_found_without_a_callback(collection: Sandbox) -> None:
    payment = pay()
    collection.tap(payment.transaction_id, "pay")
    assert services.work_once() == 0  # The poll is not due yet.
    later(payment, 5)
    assert services.work_once() == 1
    payment = fresh(payment)
    assert (payment.status, payment.settled_by, payment.collection) == ("SUCCESS", "asking", "over")
    assert payment.collected_at is not None
    assert not polled_soon(payment)
    assert payment.asks == 1


def test_who_dies_while_it_asks_is_soon_followed_by_another(collection: Sandbox, settings: Any) -> None:
    settings.DMARK_PAY_TIMEOUT = 30  # One poll can then take minutes.
    payment = pay()
    collection.tap(payment.transaction_id, "pay")
    later(payment, 5)
    assert asking._claim(Payment.objects.all())
    later(payment, 25)
    assert services.work_once() == 0
    later(payment, 6)
    assert services.work_once() == 1
    assert fresh(payment).status == "SUCCESS"


def test_a_decline_is_told_with_its_words(collection: Sandbox) -> None:
    payment = pay()
    collection.tap(payment.transaction_id, "decline")
    later(payment, 5)
    services.work_once()
    payment = fresh(payment)
    assert payment.status == "FAILED"
    assert payment.reason


@pytest.mark.parametrize("fault", ["ok", "404", "500", "hang", "late", "html", "403", "reset"])
def test_no_end_no_move(collection: Sandbox, fault: str) -> None:
    """comfortchambeshi/Wit-MTN-MOMO-API-Python-SDK#1: right after the request, a status poll returns 'not found'."""
    payment = pay()
    collection.faults(pay_status=fault)
    for seconds, pause in ((5, 5), (6, 10), (11, 20), (20, 60)):
        later(payment, seconds)
        assert asking.poll_due() == 1
        payment = fresh(payment)
        assert (payment.status, payment.collection) == ("PENDING", "asked")
        assert pause - 5 < seconds_until(payment.next_ask_at) <= pause
    # Equal answers add only one row.
    assert PaymentEvent.objects.filter(kind="polled").count() == 1


def test_an_answer_without_our_reference_counts_only_for_the_id_that_the_provider_gave_us() -> None:
    """Anybody who knows the URL of a notification can send any id."""
    payment = Payment(transaction_id="ours", provider_id="P1")
    found = {
        (reference, known_by): asking.is_ours(payment, Answer(Said.SUCCESS, ours=reference), known_by)
        for reference in ("ours", "another", "")
        for known_by in ("P1", "P2")
    }
    assert {key for key, ours in found.items() if ours} == {("ours", "P1"), ("ours", "P2"), ("", "P1")}


def test_after_a_day_it_is_the_operators(collection: Sandbox, caplog: Any) -> None:
    payment = pay()
    later(payment, 86400)
    services.work_once()
    payment = fresh(payment)
    assert (payment.status, payment.collection, payment.next_ask_at) == ("PENDING", "unresolved", None)
    assert payment.transaction_id in caplog.text
    # A later answer still counts.
    later(payment, 4)
    collection.tap(payment.transaction_id, "pay")
    assert notice(Client(), payment) == 200
    assert fresh(payment).status == "SUCCESS"


def test_an_order_in_doubt_is_the_operators_too(collection: Sandbox) -> None:
    """No id is known by which the payment could be polled."""
    collection.faults(payin="reset")
    payment = pay()
    assert payment.collection == "in_doubt"
    later(payment, 3600)
    services.work_once()
    assert fresh(payment).collection == "in_doubt"
    later(payment, 86400)
    services.work_once()
    assert fresh(payment).collection == "unresolved"
    assert asked(collection, "status") == {}


@pytest.mark.parametrize("kind", ["post", "put", "form", "put form"])
def test_a_notice_makes_us_ask(client: Client, collection: Sandbox, kind: str) -> None:
    payment = pay()
    collection.tap(payment.transaction_id, "pay")
    said = {"transaction_id": payment.provider_id, "sp_transaction_id": payment.transaction_id, "status": "Successful"}
    send = client.put if "put" in kind else client.post
    if "form" in kind:
        raw = "&".join(f"{name}={value}" for name, value in said.items())
        answer = send(address(payment), raw, content_type="application/x-www-form-urlencoded")
    else:
        raw = json.dumps(said, indent=1)
        answer = send(address(payment), raw, content_type="application/json")
    assert (answer.status_code, answer.json()) == (200, {"status": "received"})
    assert fresh(payment).status == "SUCCESS"
    kept = Callback.objects.get()
    assert (kept.source, kept.status, kept.body, kept.provider_id) == (
        "dmarkpay",
        "Successful",
        raw,
        payment.provider_id,
    )


GARBAGE = [
    b"",
    b"\xff\xfe\x00",
    b"[]",
    b"5",
    b"{",
    b"[" * 50_000,
    b'{"status": {}, "transaction_id": [1]}',
    b"a=b&" * 90,
]


@pytest.mark.parametrize("raw", GARBAGE, ids=lambda raw: repr(raw[:12]))
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "multipart/form-data; boundary=x", "x"])
def test_garbage_is_kept_and_makes_us_ask(client: Client, collection: Sandbox, raw: bytes, content_type: str) -> None:
    payment = pay()
    assert client.post(address(payment), raw, content_type=content_type).status_code == 200
    kept = Callback.objects.get()
    assert kept.body == raw.decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    assert fresh(payment).status == "PENDING"
    assert asked(collection, "status") == {payment.transaction_id: 1}


def test_a_lie_settles_nothing(client: Client, collection: Sandbox) -> None:
    payment = pay()
    for word in ("Successful", "Failed", "SUCCESS"):
        later(payment, 4)
        assert notice(client, payment, status=word) == 200
    assert fresh(payment).status == "PENDING"


def test_a_notice_just_after_a_question_is_asked_about_at_once(client: Client, collection: Sandbox) -> None:
    payment = pay()
    later(payment, 5)
    assert services.work_once() == 1
    assert fresh(payment).status == "PENDING"
    collection.tap(payment.transaction_id, "pay")
    assert notice(client, payment) == 200
    assert fresh(payment).status == "SUCCESS"


def test_after_the_first_notices_one_question_every_few_seconds(client: Client, collection: Sandbox) -> None:
    payment = pay()
    for _ in range(20):
        assert notice(client, payment) == 200
    assert asked(collection, "status") == {payment.transaction_id: asking.AT_ONCE}
    assert Callback.objects.count() == 20
    # Notifications within these seconds cause one later poll.
    assert 0 < seconds_until(fresh(payment).next_ask_at) <= asking.GAP
    collection.tap(payment.transaction_id, "pay")
    later(payment, asking.GAP)
    assert services.work_once() == 1
    assert fresh(payment).status == "SUCCESS"


def test_notices_without_end_are_not_kept_without_end(client: Client, collection: Sandbox, monkeypatch: Any) -> None:
    monkeypatch.setattr("payments.webhooks.MOST_NOTICES", 3)
    payment = pay()
    for _ in range(5):
        assert notice(client, payment) == 200
    assert Callback.objects.count() == 3


def test_an_address_that_is_not_ours(client: Client, collection: Sandbox) -> None:
    payment = pay()
    good = address(payment)
    for bad in (good[:-2] + "x/", good.replace("/dmarkpay/", "/dmarkpay/1"), "/api/v1/momo/dmarkpay/1/"):
        answer = client.post(bad, b"{}", content_type="application/json")
        assert (answer.status_code, answer.json()["error"]) == (403, "This address is not signed by us.")
    assert not Callback.objects.exists()
    assert client.get(good).status_code == 405
    assert client.post(good, b"x" * 70_000, content_type="text/plain").status_code == 413
    PaymentEvent.objects.all().delete()
    Payment.objects.all().delete()
    assert client.post(good, b"{}", content_type="application/json").status_code == 404


def test_an_address_outlives_the_change_of_the_secret_key(client: Client, collection: Sandbox, settings: Any) -> None:
    payment = pay()
    given, old = address(payment), settings.SECRET_KEY
    collection.tap(payment.transaction_id, "pay")
    settings.SECRET_KEY = "another" * 10
    assert client.post(given, b"{}", content_type="application/json").status_code == 403
    settings.SECRET_KEY_FALLBACKS = [old]
    assert client.post(given, b"{}", content_type="application/json").status_code == 200
    assert fresh(payment).status == "SUCCESS"
    assert address(payment) != given


def test_with_a_worker_a_notice_never_waits_for_dmarkpay(client: Client, collection: Sandbox, settings: Any) -> None:
    payment = pay()
    settings.SMS_DELIVERY = "worker"
    collection.faults(pay_status="hang")
    assert notice(client, payment) == 200
    assert asked(collection, "status") == {}
    assert fresh(payment).next_ask_at is not None
    collection.faults(pay_status="ok")
    collection.tap(payment.transaction_id, "pay")
    assert services.work_once() == 1
    assert fresh(payment).status == "SUCCESS"


# --- the id that our own lost answer did not bring


@pytest.fixture
def lost(collection: Sandbox) -> Payment:
    """A payment request that DMarkPay accepted, but whose response was lost."""
    collection.faults(payin="taken_reset")
    payment = pay()
    assert (payment.collection, payment.provider_id) == ("in_doubt", "")
    collection.faults(payin="ok")
    return payment


def their_id(collection: Sandbox, payment: Payment) -> str:
    found = collection.server.state.money.named(payment.transaction_id, "payin")
    return found[0].transaction_id


def test_the_id_comes_with_the_notice(client: Client, collection: Sandbox, lost: Payment) -> None:
    their = their_id(collection, lost)
    assert notice(client, lost, transaction_id=their, status="Pending") == 200
    payment = fresh(lost)
    assert (payment.provider_id, payment.collection, payment.status) == (their, "asked", "PENDING")
    collection.tap(lost.transaction_id, "pay")
    later(payment, 60)
    services.work_once()
    assert fresh(lost).status == "SUCCESS"


def test_others_id_is_not_believed(client: Client, collection: Sandbox, lost: Payment, caplog: Any) -> None:
    """A person who knows the URL could name another payment that succeeded, and play for its money."""
    rich = pay("+256701000009", 5000)
    collection.tap(rich.transaction_id, "pay")
    assert notice(client, lost, transaction_id=rich.provider_id) == 200
    payment = fresh(lost)
    assert (payment.status, payment.provider_id, payment.collection) == ("PENDING", "", "in_doubt")
    assert "another transaction" in caplog.text
    assert "A poll showed" in lost.callbacks.get().refusal
    # The true id is still found, whatever other ids were sent.
    collection.tap(lost.transaction_id, "pay")
    later(lost, 4)
    notice(client, lost, transaction_id=their_id(collection, lost))
    assert fresh(lost).status == "SUCCESS"
    assert fresh(rich).status == "PENDING"


def test_a_made_up_id_is_not_believed(client: Client, collection: Sandbox, lost: Payment) -> None:
    notice(client, lost, transaction_id="DPnone")
    assert fresh(lost).status == "PENDING"
    collection.tap(lost.transaction_id, "pay")
    later(lost, 4)
    notice(client, lost, transaction_id=their_id(collection, lost))
    assert fresh(lost).status == "SUCCESS"


def test_a_notice_before_the_answer_to_the_order(client: Client, collection: Sandbox, settings: Any) -> None:
    """The notification arrives before the response to the payment request."""
    from payments import collection as collecting

    settings.SMS_DELIVERY = "worker"
    payment = pay()
    claimed = collecting._claim(1)[0]
    answer = collecting._ask(claimed)
    collection.tap(payment.transaction_id, "pay")
    notice(client, payment, transaction_id=answer.provider_id)
    assert asking.poll_due() == 1
    assert fresh(payment).status == "SUCCESS"
    collecting._record(claimed, answer)
    assert fresh(payment).status == "SUCCESS"


# --- contradictions


def test_a_notice_while_its_end_is_asked_back_is_heard(client: Client, collection: Sandbox, settings: Any) -> None:
    """Two notifications contradict each other.

    The second arrives before the answer to the first poll, so it causes another poll.
    """
    payment = pay()
    settings.SMS_DELIVERY = "worker"
    collection.tap(payment.transaction_id, "decline")
    later(payment, 5)
    claimed = asking._claim(Payment.objects.all())
    assert claimed is not None
    notice(client, payment)
    asking._poll(claimed)
    assert fresh(payment).status == "FAILED"
    collection.server.state.money.transactions[payment.provider_id].status = "Successful"
    later(payment, 5)
    services.work_once()
    payment = fresh(payment)
    assert (payment.contested, payment.refund_due, polled_soon(payment)) == (True, True, False)


def ask_one() -> int:
    """Poll one payment in a thread."""
    try:
        return asking.poll_due(1)
    finally:
        connection.close()


@pytest.mark.parametrize("last", ["Successful", "Failed"])
def test_an_answer_that_was_overtaken_contradicts_nothing(
    client: Client, collection: Sandbox, settings: Any, last: str
) -> None:
    """A slow poll began before a newer answer. It changes nothing, and another poll decides."""
    payment = pay()
    collection.tap(payment.transaction_id, "decline")
    later(payment, 5)
    settings.DMARK_PAY_TIMEOUT = 5
    collection.faults(pay_status="late", pay_status_times=1, answer_after=1.2)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask_one)
        wait_for(lambda: asked(collection, "status"))
        known = collection.server.state.money.transactions[payment.provider_id]
        known.status = "Successful"
        assert notice(client, payment) == 200
        assert fresh(payment).status == "SUCCESS"
        known.status = "Failed"
        assert slow.result() == 1
    payment = fresh(payment)
    assert (payment.status, payment.contested) == ("SUCCESS", False)
    known.status = last
    later(payment, 5)  # Wait for the pause before the next poll.
    assert services.work_once() == 1
    payment = fresh(payment)
    assert (payment.status, payment.contested, polled_soon(payment)) == ("SUCCESS", last == "Failed", False)


@pytest.mark.parametrize("meanwhile", ["Pending", "Successful"])
def test_an_answer_that_was_overtaken_is_taken_where_it_fits(
    client: Client, collection: Sandbox, settings: Any, meanwhile: str
) -> None:
    """The newer answer was either pending or the same as that of the slow poll."""
    payment = pay()
    later(payment, 5)
    settings.DMARK_PAY_TIMEOUT = 5
    collection.faults(pay_status="late", pay_status_times=1, answer_after=1.2)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask_one)
        wait_for(lambda: asked(collection, "status"))
        known = collection.server.state.money.transactions[payment.provider_id]
        known.status = meanwhile
        assert notice(client, payment) == 200
        assert (fresh(payment).status == "SUCCESS") == (meanwhile == "Successful")
        known.status = "Successful"
        slow.result()
    payment = fresh(payment)
    assert (payment.status, payment.contested, payment.asks) == ("SUCCESS", False, 2)
    # The schedule of the newer answer is kept. An equal answer causes no further poll.
    assert meanwhile == "Pending" or not polled_soon(payment)


@pytest.mark.parametrize(("first", "second"), [("pay", "Failed"), ("decline", "Successful")])
def test_dmarkpay_takes_back_its_end(client: Client, collection: Sandbox, caplog: Any, first: str, second: str) -> None:
    told: list[str] = []

    def note(payment: Payment, said: str, **kwargs: Any) -> None:
        told.append(said)

    payment = pay()
    collection.tap(payment.transaction_id, first)
    later(payment, 5)
    services.work_once()
    status = fresh(payment).status
    collection.server.state.money.transactions[payment.provider_id].status = second
    payment_contested.connect(note)
    try:
        later(payment, 10)
        assert notice(client, payment) == 200
    finally:
        payment_contested.disconnect(note)
    payment = fresh(payment)
    assert (payment.status, payment.contested) == (status, True)
    assert payment.contested_at is not None
    assert payment.refund_due == (second == "Successful")
    assert told == ["SUCCESS" if second == "Successful" else "FAILED"]
    assert "contested" in caplog.text


def test_asking_tells_nobodys_number(collection: Sandbox, caplog: Any, client: Client) -> None:
    caplog.set_level(logging.DEBUG)
    payment = pay()
    collection.tap(payment.transaction_id, "pay")
    notice(client, payment)
    assert fresh(payment).status == "SUCCESS"
    assert PHONE[1:] not in caplog.text
    assert PHONE[4:] not in caplog.text


def test_a_receiver_that_fails_leaves_the_end(client: Client, collection: Sandbox) -> None:
    def fail(**kwargs: Any) -> None:
        raise RuntimeError

    payment = pay()
    collection.tap(payment.transaction_id, "pay")
    momo_status_changed.connect(fail)
    try:
        notice(client, payment)
    finally:
        momo_status_changed.disconnect(fail)
    assert fresh(payment).status == "SUCCESS"
