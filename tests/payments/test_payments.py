"""Every way of a payment, from the callback to the match and its messages."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from game.models import Entry, Session
from game.rules.ending import expire_old
from payments import journal
from payments.journal import Cause
from payments.models import Callback, Payment
from payments.rules.states import Event, Kind
from payments.signals import momo_status_changed
from sms.models import SmsMessage
from tests.conftest import Sandbox
from tests.game_helpers import ALICE, BOB, CAROL, callback, callback_body, paid, post, stake, status

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def collected(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False


def texts(phone: str = "") -> list[str]:
    rows = SmsMessage.objects.order_by("pk")
    if phone:
        rows = rows.filter(phone=f"+256{phone[1:]}")
    return list(rows.values_list("text", flat=True))


def kinds() -> list[str]:
    return list(SmsMessage.objects.order_by("pk").values_list("kind", flat=True))


def test_payment_opens_the_entry_and_is_texted(client: Client, sandbox: Sandbox) -> None:
    placed = stake(client, ALICE)
    assert placed["status"] == "awaiting_payment"
    assert status(client, placed["queue_token"])["status"] == "awaiting_payment"
    assert sandbox.inbox() == []
    assert paid(client, placed, "256772000001").json() == {"status": "received"}
    assert status(client, placed["queue_token"])["status"] == "queued"
    assert [item["text"] for item in sandbox.inbox()] == ["Payment of 1000 UGX received. Searching for opponent..."]


def test_the_payer_who_completes_a_match_gets_one_text(client: Client, sandbox: Sandbox) -> None:
    first, second = stake(client, ALICE), stake(client, BOB)
    paid(client, first, ALICE)
    paid(client, second, BOB)
    link = status(client, second["queue_token"])["game_link"]
    assert link.endswith(second["player_token"])
    assert texts(BOB) == [f"Payment of 1000 UGX received. Opponent found! Play here: {link}"]
    assert texts(ALICE)[1] == f"Opponent found! Play here: {status(client, first['queue_token'])['game_link']}"
    assert len(texts(ALICE)) == 2
    assert len(sandbox.inbox()) == 3


def test_private_match_opens_and_invites_when_paid(client: Client, sandbox: Sandbox) -> None:
    placed = stake(client, ALICE, create_private=True, invite_phone=BOB)
    assert placed["status"] == "awaiting_payment"
    assert "match_code" not in status(client, placed["queue_token"])
    code = Entry.objects.get().match_code
    refused = post(client, phone_number=BOB, stake_amount=1000, match_code=code)
    assert refused.status_code == 409
    assert texts() == []
    paid(client, placed, ALICE)
    assert status(client, placed["queue_token"])["match_code"] == code
    assert texts(ALICE) == [f"Payment of 1000 UGX received. Share your code: {code}"]
    assert texts(BOB)[0].startswith(f"Join my PlayMatatu private match! Code: {code}.")


def test_failed_payment(client: Client, sandbox: Sandbox) -> None:
    placed = stake(client, ALICE)
    paid(client, placed, ALICE, "failed")
    answer = status(client, placed["queue_token"])
    assert (answer["status"], answer["reason"]) == ("expired", "payment_failed")
    assert texts() == ["Payment of 1000 UGX failed. Please retry or contact support."]
    # A later contradiction does not change the status. The money is due for refund.
    paid(client, placed, ALICE, "SUCCESS")
    assert status(client, placed["queue_token"])["status"] == "expired"
    assert Callback.objects.count() == 2
    assert Payment.objects.get().status == "FAILED"
    assert texts()[1:] == ["Payment of 1000 UGX received too late to play. Please contact support."]


def test_pending_moves_nothing(client: Client) -> None:
    placed = stake(client, ALICE)
    paid(client, placed, ALICE, "PENDING")
    assert status(client, placed["queue_token"])["status"] == "awaiting_payment"
    assert texts() == []


def test_repeats_are_harmless(client: Client) -> None:
    moves: list[str] = []

    def note(payment: Payment, previous_status: str, **kwargs: Any) -> None:
        moves.append(f"{previous_status} {payment.status}")

    momo_status_changed.connect(note)
    try:
        placed = stake(client, ALICE)
        for _ in range(5):
            paid(client, placed, ALICE)
        paid(client, placed, ALICE, "FAILED")
    finally:
        momo_status_changed.disconnect(note)
    assert moves == ["PENDING SUCCESS"]
    assert len(texts()) == 1
    # The provider took the money back, so this entry is not matched.
    assert status(client, placed["queue_token"])["status"] == "expired"


def test_a_code_is_not_held_and_the_late_payer_joins_the_queue(client: Client) -> None:
    creator = stake(client, ALICE, create_private=True)
    paid(client, creator, ALICE)
    code = status(client, creator["queue_token"])["match_code"]
    bob, carol = stake(client, BOB, match_code=code), stake(client, CAROL, match_code=code)
    paid(client, carol, CAROL)
    assert status(client, creator["queue_token"])["status"] == "matched"
    paid(client, bob, BOB)
    answer = status(client, bob["queue_token"])
    assert answer["status"] == "queued"
    assert "taken" in answer["message"]
    assert texts(BOB) == ["Payment of 1000 UGX received. Searching for opponent..."]


def test_a_late_payer_may_meet_who_waits(client: Client) -> None:
    creator = stake(client, ALICE, create_private=True)
    paid(client, creator, ALICE)
    code = status(client, creator["queue_token"])["match_code"]
    bob, carol, dave = (
        stake(client, BOB, match_code=code),
        stake(client, CAROL, match_code=code),
        stake(client, "0772000004"),
    )
    paid(client, carol, CAROL)
    paid(client, dave, "0772000004")
    paid(client, bob, BOB)
    assert status(client, bob["queue_token"])["status"] == "matched"
    assert status(client, dave["queue_token"])["status"] == "matched"


def test_a_new_stake_takes_the_place_of_an_unpaid_one_and_a_late_payment_is_held(client: Client) -> None:
    old = stake(client, ALICE)
    new = stake(client, ALICE, 2000)
    assert status(client, old["queue_token"])["reason"] == "replaced"
    paid(client, new, ALICE)
    paid(client, old, ALICE)
    answer = status(client, old["queue_token"])
    assert (answer["status"], answer["reason"]) == ("expired", "refund_due")
    assert Payment.objects.get(transaction_id=old["transaction_id"]).refund_due
    assert texts(ALICE)[-1] == "Payment of 1000 UGX received too late to play. Please contact support."
    assert status(client, new["queue_token"])["status"] == "queued"
    paid(client, old, ALICE)
    assert len(texts(ALICE)) == 2


def test_a_late_payment_reopens_the_entry(client: Client) -> None:
    placed = stake(client, ALICE)
    Entry.objects.update(created_at=timezone.now() - timedelta(days=2))
    call_command("expire_queue")
    assert status(client, placed["queue_token"])["status"] == "expired"
    paid(client, placed, ALICE)
    assert status(client, placed["queue_token"])["status"] == "queued"
    assert kinds() == ["payment_success"]


def sql_error(*args: Any, **kwargs: Any) -> None:
    """On PostgreSQL this error would abort the transaction if the receiver had no savepoint."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM no_such_table")


@pytest.mark.parametrize("cure", ["repeated callback", "expire_queue"])
def test_what_a_failing_receiver_left_is_opened_later(client: Client, monkeypatch: Any, cure: str) -> None:
    placed = stake(client, ALICE, create_private=True, invite_phone=BOB)
    with monkeypatch.context() as broken:
        broken.setattr("game.payment_receivers.activate_paid", sql_error)
        paid(client, placed, ALICE)
    assert status(client, placed["queue_token"])["status"] == "awaiting_payment"
    assert texts() == []
    for _ in range(2):
        if cure == "expire_queue":
            call_command("expire_queue")
        else:
            paid(client, placed, ALICE)
    assert status(client, placed["queue_token"])["status"] == "queued"
    assert sorted(kinds()) == ["payment_success", "private_invite"]


def test_what_was_left_unopened_is_played_not_refunded(client: Client, monkeypatch: Any) -> None:
    placed = stake(client, ALICE)
    with monkeypatch.context() as broken:
        broken.setattr("game.payment_receivers.activate_paid", lambda payment: 1 / 0)
        paid(client, placed, ALICE)
    stake(client, ALICE, 2000)
    expire_old()
    assert not Payment.objects.filter(refund_due=True).exists()
    call_command("expire_queue")
    assert status(client, placed["queue_token"])["status"] == "queued"
    assert kinds() == ["payment_success"]


def test_the_queue_is_not_left_by_a_text_that_fails(client: Client, monkeypatch: Any, caplog: Any) -> None:
    placed = stake(client, ALICE)
    with monkeypatch.context() as broken:
        broken.setattr("game.notifications.queue_many", lambda *args, **kwargs: 1 / 0)
        paid(client, placed, ALICE)
    assert status(client, placed["queue_token"])["status"] == "queued"
    assert "ZeroDivisionError" in caplog.text
    paid(client, placed, ALICE)
    assert kinds() == ["payment_success"]


def test_an_sql_error_in_a_receiver_poisons_nothing(client: Client, monkeypatch: Any) -> None:
    first, second = stake(client, ALICE), stake(client, BOB)
    paid(client, first, ALICE)
    monkeypatch.setattr("game.notifications.queue_many", sql_error)
    paid(client, second, BOB)
    assert Session.objects.count() == 1
    assert status(client, second["queue_token"])["status"] == "matched"


def test_auto_approval_sends_no_payment_text_and_no_signal(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = True
    stake(client, ALICE)
    assert Payment.objects.get().status == "SUCCESS"
    assert texts() == []


def test_with_worker_delivery_the_callback_never_waits_for_dmark(
    client: Client, sandbox: Sandbox, settings: Any
) -> None:
    settings.SMS_DELIVERY = "worker"
    sandbox.faults(token="hang", send="hang")
    paid(client, stake(client, ALICE), ALICE)
    assert sandbox.requests() == []
    assert SmsMessage.objects.get().status == "queued"


def test_a_payment_that_was_lost_to_a_crash_is_found_again(client: Client, monkeypatch: Any) -> None:
    """The process crashes before the commit.

    The provider gets no 200 and repeats the callback, which then has its full effect.
    """
    placed = stake(client, ALICE)
    with monkeypatch.context() as broken:
        broken.setattr("payments.journal.momo_status_changed.send_robust", lambda *args, **kwargs: 1 / 0)
        answer = callback(Client(raise_request_exception=False), callback_body(placed, ALICE))
    assert answer.status_code == 500
    assert Payment.objects.get().status == "PENDING"
    assert Callback.objects.get().body  # The callback was stored before it was processed.
    paid(client, placed, ALICE)
    assert status(client, placed["queue_token"])["status"] == "queued"
    assert kinds() == ["payment_success"]


def test_the_events_of_a_block_that_was_rolled_back_are_not_recorded(client: Client) -> None:
    """Otherwise the journal would contain an activation that a receiver's error has reverted."""
    stake(client, ALICE)
    payment = Payment.objects.get()
    with journal.writing():
        for number in range(3):
            with suppress(ZeroDivisionError), journal.writing():
                journal.record(payment, Event(Kind.POLLED), (), timezone.now(), Cause(note=f"poll {number}"))
                assert 1 / (number - 1)
    assert list(payment.events.order_by("pk").values_list("note", flat=True)) == ["", "poll 0", "poll 2"]
