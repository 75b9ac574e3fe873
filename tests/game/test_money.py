"""The money of a stake: when it is due for refund, who reports this, and the messages about it."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from game import maintenance
from game.models import Entry, Session
from game.notifications import render
from game.payment_use import due_back
from game.rules.ending import announce_refunds, cancel, give_up
from game.rules.matching import activate_paid, left_inactive
from game.signals import refund_became_due
from payments import journal, ledger, matches, refunds, services
from payments.models import Payment
from payments.rules.states import Account, Kind
from payments.signals import payment_contested
from sms.models import SmsMessage
from sms.text.segments import segments
from tests.crowd import together
from tests.game_helpers import ALICE, BOB, age, kinds, paid, paid_stake, post, stake, status
from tests.payments.helpers import end_contest, record_by_hand, settle

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _paid_for(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE, settings.COMMISSION_FLAT = False, 100


# --- due back, from that very moment


def test_a_stake_that_nobody_joined(client: Client) -> None:
    entry = paid_stake(client)
    assert not refunds.due().exists()
    assert not due_back(entry)
    age()
    entry.refresh_from_db()
    assert refunds.due().get().amount == 1100
    assert due_back(entry)
    assert announce_refunds()[0] == 0  # The end is not stored yet.
    call_command("expire_queue")
    call_command("expire_queue")
    assert kinds() == ["payment_success", "refund_due"]
    text = SmsMessage.objects.get(kind="refund_due")
    assert text.text == "Nobody joined your match. Your 1100 UGX will be refunded."
    assert text.dedupe_key == f"payment:{entry.payment_id}:refund_due"


def test_one_who_leaves_is_told_at_once(client: Client) -> None:
    entry = paid_stake(client)
    assert cancel(entry)
    assert kinds() == ["payment_success", "refund_due"]
    call_command("expire_queue")
    assert kinds() == ["payment_success", "refund_due"]


def test_one_who_stakes_again_is_told_of_the_last_one(client: Client) -> None:
    paid_stake(client)
    age()
    again = stake(client, ALICE, 2000)
    assert again["status"] == "awaiting_payment"
    call_command("expire_queue")
    assert kinds() == ["payment_success", "refund_due"]


def test_what_was_not_collected_is_not_given_back(client: Client, settings: Any) -> None:
    unpaid = Entry.objects.select_related("player").get(pk=stake(client, ALICE)["queue_id"])
    cancel(unpaid)
    settings.MOMO_AUTO_APPROVE = True
    stake(client, BOB)
    age()
    call_command("expire_queue")
    assert not refunds.due().exists()
    assert SmsMessage.objects.count() == 0


def test_a_match_is_played_and_not_given_back(client: Client) -> None:
    paid_stake(client)
    entry = paid_stake(client, BOB)
    assert entry.session is not None
    Session.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    call_command("expire_queue")
    assert not refunds.due().exists()
    assert ledger.balances()[Account.IN_MATCH] == 2200


def test_old_ends_are_not_told_of_now(client: Client) -> None:
    entry = paid_stake(client)
    Entry.objects.update(status="expired", expires_at=timezone.now() - timedelta(days=3))
    assert announce_refunds() == (0, 0)
    assert refunds.due().get().pk == entry.payment_id


def test_a_text_that_fails_is_told_later(client: Client, caplog: Any) -> None:
    entry = paid_stake(client)

    def broken(**kwargs: Any) -> None:
        raise RuntimeError("broken receiver")

    refund_became_due.connect(broken, weak=False)
    try:
        assert cancel(entry)
        assert announce_refunds() == (0, 1)
    finally:
        refund_became_due.disconnect(broken)
    assert announce_refunds() == (1, 0)
    assert kinds() == ["payment_success", "refund_due"]


def test_a_second_payout_after_a_returned_one_has_its_own_message(client: Client) -> None:
    cancel(paid_stake(client))
    for _ in range(2):
        [refund] = record_by_hand(Payment.objects.all(), "operator", "in cash")
        services.tell_again()
        assert refunds.returned(refund.pk, "operator", "the number is not registered")
    assert kinds() == ["payment_success", "refund_due", "refunded", "refunded"]


def test_refunded_is_told_once_and_shown(client: Client) -> None:
    entry = paid_stake(client)
    cancel(entry)
    assert len(record_by_hand(Payment.objects.all(), "operator", "in cash")) == 1
    assert record_by_hand(Payment.objects.all(), "operator", "in cash") == []
    assert kinds() == ["payment_success", "refund_due", "refunded"]
    assert SmsMessage.objects.get(kind="refunded").text == "Your 1100 UGX from PlayMatatu was refunded."
    answer = status(client, _token(entry))
    assert answer["refund"] == {"status": "refunded", "amount": 1100, "phone_number": "+256772000001"}
    assert "We sent 1100 UGX back to 0772 000 001." in answer["message"]


def test_a_refund_is_not_recorded_while_the_stake_still_waits(client: Client) -> None:
    paid_stake(client)
    assert record_by_hand(Payment.objects.all(), "operator", "in cash") == []


def test_whose_money_goes_back_is_met_by_nobody(client: Client) -> None:
    """A process whose reading of the clock is slightly older cannot match an entry whose refund has begun."""
    entry = paid_stake(client)
    age()
    assert record_by_hand(Payment.objects.all(), "operator", "in cash")
    Entry.objects.update(expires_at=timezone.now() + timedelta(seconds=60))
    assert paid_stake(client, BOB).session is None
    entry.refresh_from_db()
    assert entry.session is None


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("change", ["contested", "gone", "refund due", "refunded"])
def test_money_that_is_not_with_us_activates_no_entry(
    client: Client, monkeypatch: Any, change: str, *, is_late: bool
) -> None:
    """`is_late`: the periodic task has read the payment before the change."""
    placed = stake(client, ALICE)
    with monkeypatch.context() as broken:
        broken.setattr("game.payment_receivers.activate_paid", lambda payment: 1 / 0)
        paid(client, placed, ALICE)
    payment = left_inactive()[0]
    if change.startswith("refund"):
        cancel(Entry.objects.select_related("player").get())
    else:
        paid(client, placed, ALICE, "FAILED")
    if change == "refunded":
        record_by_hand(Payment.objects.all(), "anna", "in cash")
    if change == "gone":
        matches.judge(payment.pk, Kind.CONTEST_GONE, actor="anna", note="portal")
    paid_stake(client, BOB)
    if is_late:
        monkeypatch.setattr("game.maintenance.left_inactive", lambda within: [payment])
    else:
        assert left_inactive() == []
    assert maintenance.activate_left() == (0, 0)
    assert list(Entry.objects.order_by("pk").values_list("status", flat=True)) == ["expired", "queued"]


def test_an_activation_that_is_rolled_back_leaves_no_journal_entry(client: Client, monkeypatch: Any) -> None:
    def fail(payment: Payment) -> None:
        activate_paid(payment)
        raise ZeroDivisionError

    placed = stake(client, ALICE)
    with monkeypatch.context() as broken:
        broken.setattr("game.payment_receivers.activate_paid", fail)
        paid(client, placed, ALICE)
    payment = Payment.objects.get()
    assert list(payment.events.values_list("kind", flat=True)) == ["requested", "word"]
    assert list(journal.balances_of(payment)) == [Account.RECEIVED]


def test_a_late_payment_that_is_matched_at_once_leaves_no_trace_of_the_end(client: Client) -> None:
    placed = stake(client, ALICE)
    give_up(Entry.objects.get(), "not_paid")
    paid_stake(client, BOB)
    paid(client, placed, ALICE)
    ends = Entry.objects.order_by("pk").values_list("status", "reason", "ended_at")
    assert list(ends) == [("matched", "", None)] * 2


def test_what_is_over_is_not_told_as_if_it_began(client: Client) -> None:
    """SUCCESS is repeated after the first message was lost or deleted."""
    placed = stake(client, ALICE)
    paid(client, placed, ALICE)
    age()
    call_command("expire_queue")
    SmsMessage.objects.filter(kind="payment_success").delete()
    paid(client, placed, ALICE)
    assert kinds() == ["refund_due"]


def _token(entry: Entry) -> str:
    from game.tokens import queue_token

    return queue_token(entry)


# --- contradictions


def test_the_message_about_late_money_is_queued_again_after_an_error(client: Client, monkeypatch: Any) -> None:
    placed = stake(client, ALICE)
    paid(client, placed, ALICE, "FAILED")
    with monkeypatch.context() as broken:
        broken.setattr("game.notifications.render", lambda *args, **values: 1 / 0)
        paid(client, placed, ALICE)
    assert services.tell_again() == (1, 0)
    assert kinds() == ["payment_failed", "payment_held"]


def test_the_signal_about_late_money_that_was_taken_back_is_repeated_correctly(client: Client) -> None:
    placed, said = stake(client, ALICE), []

    def fail(**kwargs: Any) -> None:
        said.append(kwargs["said"])
        raise ZeroDivisionError

    for word in ("FAILED", "SUCCESS"):
        paid(client, placed, ALICE, word)
    payment_contested.connect(fail)
    try:
        paid(client, placed, ALICE, "FAILED")
        assert services.tell_again() == (0, 1)
    finally:
        payment_contested.disconnect(fail)
    assert said == ["FAILED", "FAILED"]


def test_late_money_of_a_closed_dispute_is_told_once(client: Client, settings: Any) -> None:
    """The limit of messages about failed payments is reached, so no message has the key of this payment's status."""
    settings.FAILED_TEXTS_PER_PHONE_DAY = 0
    placed = stake(client, ALICE)
    for word in ("FAILED", "SUCCESS", "FAILED"):
        paid(client, placed, ALICE, word)
    assert end_contest(Payment.objects.get().pk)
    assert kinds() == ["payment_held"]


def test_success_after_failed(client: Client) -> None:
    placed = stake(client, ALICE)
    paid(client, placed, ALICE, "FAILED")
    for _ in range(3):
        paid(client, placed, ALICE, "SUCCESS")
    assert kinds() == ["payment_failed", "payment_held"]
    assert SmsMessage.objects.get(kind="payment_held").text == (
        "Payment of 1100 UGX received too late to play. Please contact support."
    )
    answer = status(client, placed["queue_token"])
    assert (answer["status"], answer["reason"]) == ("expired", "refund_due")
    assert "We will refund 1100 UGX to 0772 000 001." in answer["message"]
    assert refunds.due().get().status == "FAILED"
    # The periodic tasks do not activate this entry.
    call_command("expire_queue")
    assert status(client, placed["queue_token"])["status"] == "expired"


def test_a_reversal_is_nothing_to_give_back(client: Client) -> None:
    entry = paid_stake(client)
    settle(entry.payment_id, Payment.Status.FAILED, by="callback")
    age()
    call_command("expire_queue")
    assert not refunds.due().exists()
    assert kinds() == ["payment_success"]
    assert status(client, _token(entry))["refund"] is None


def test_a_payment_after_the_stake_was_left_reopens_it(client: Client) -> None:
    placed = stake(client, ALICE)
    cancel(Entry.objects.select_related("player").get())
    paid(client, placed, ALICE)
    assert status(client, placed["queue_token"])["status"] == "queued"
    assert kinds() == ["payment_success"]


# --- texts


@pytest.mark.parametrize("kind", ["payment_failed", "payment_held"])
@pytest.mark.parametrize(
    ("language", "word"), [("en", "ontact support"), ("lg", "uukirira abayambi"), ("sw", "na huduma")]
)
def test_the_contact_follows_support(settings: Any, kind: str, language: str, word: str) -> None:
    settings.SUPPORT_CONTACT = "0800 100 100"
    assert render(kind, language, amount="5000000").endswith(f"{word} 0800 100 100.")
    assert segments(render(kind, language, amount="5000000")).count == 1
    # The support contact is left out if it would need a second SMS.
    for contact in ("x" * 140, "“ŋ”" * 12):
        settings.SUPPORT_CONTACT = contact
        assert render(kind, language, amount="5000000").endswith(f"{word}.")


def test_three_failures_a_day_are_texted(client: Client, settings: Any) -> None:
    settings.UNPAID_STAKES_PER_PHONE_HOUR = 100
    for _ in range(5):
        paid(client, stake(client, ALICE), ALICE, "FAILED")
    assert kinds() == ["payment_failed"] * 3
    paid(client, stake(client, BOB), BOB, "FAILED")
    assert kinds(BOB) == ["payment_failed"]
    SmsMessage.objects.filter(kind="payment_failed").update(created_at=timezone.now() - timedelta(hours=25))
    paid(client, stake(client, ALICE), ALICE, "FAILED")
    assert kinds() == ["payment_failed"] * 4


def test_failures_that_come_together_are_counted(settings: Any) -> None:
    settings.UNPAID_STAKES_PER_PHONE_HOUR = 100
    placed = [stake(Client(), ALICE) for _ in range(8)]
    together(*(partial(paid, Client(), one, ALICE, "FAILED") for one in placed))
    assert kinds() == ["payment_failed"] * 3


# --- asking once


def test_a_phone_that_may_still_ring_is_not_asked_again(client: Client, settings: Any) -> None:
    placed = stake(client, ALICE)
    payment = Payment.objects.get()
    asked = timezone.now() - timedelta(seconds=60)
    Payment.objects.update(collection=Payment.Collection.ASKED, asked_at=asked)
    answer = post(client, phone_number=ALICE, stake_amount=2000)
    assert answer.status_code == 409
    assert 115 <= int(answer["Retry-After"]) <= 121
    assert f"wait {answer['Retry-After']} seconds" in answer.json()["error"]
    assert status(client, placed["queue_token"])["status"] == "awaiting_payment"
    assert post(client, phone_number=BOB, stake_amount=2000).status_code == 200
    # No second request until the payment has a final status, or three minutes after the request.
    settle(payment.pk, Payment.Status.FAILED, by="asking")
    assert post(client, phone_number=ALICE, stake_amount=2000).status_code == 200
