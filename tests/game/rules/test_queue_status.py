"""The status of a stake as its owner gets it, and how the status changes with time."""

import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone as django_timezone

from game.etag import current_tag
from game.models import Entry, Session
from game.rules.ending import cancel, expire_old
from game.tokens import queue_token
from payments import refunds
from payments.models import Payment
from sms.models import SmsMessage
from tests.game_helpers import ALICE, BOB, CAROL, DAVE, paid, post, stake, status

pytestmark = pytest.mark.django_db(transaction=True)


def age(**more: Any) -> None:
    """Move every entry and session eleven minutes into the past."""
    past = django_timezone.now() - timedelta(minutes=1)
    Entry.objects.exclude(expires_at=None).update(expires_at=past, **more)
    Session.objects.update(expires_at=past)


def test_a_public_stake(client: Client) -> None:
    placed = stake(client, ALICE, display_name="Alice")
    answer = status(client, placed["queue_token"])
    expires = datetime.fromisoformat(answer.pop("expires_at"))
    assert answer.pop("message")
    assert answer == {"status": "queued", "stake_amount": 1000, "display_name": "Alice"}
    left = expires - datetime.now(timezone.utc)
    assert timedelta(minutes=9) < left <= timedelta(minutes=10)


def test_the_code_is_for_the_creator_of_an_open_private_match(client: Client) -> None:
    created = stake(client, ALICE, create_private=True, display_name="Alice")
    assert status(client, created["queue_token"])["match_code"] == created["match_code"]
    joined = stake(client, BOB, match_code=created["match_code"], display_name="Bob")
    for answer in (status(client, created["queue_token"]), status(client, joined["queue_token"])):
        assert answer["status"] == "matched"
        assert "match_code" not in answer


def test_each_player_gets_their_own_link_and_names(client: Client) -> None:
    first, second = stake(client, ALICE, display_name="Alice"), stake(client, BOB, display_name="Bob")
    mine, theirs = status(client, first["queue_token"]), status(client, second["queue_token"])
    assert (mine["my_display_name"], mine["opponent_display_name"]) == ("Alice", "Bob")
    assert (theirs["my_display_name"], theirs["opponent_display_name"]) == ("Bob", "Alice")
    for answer, placed in ((mine, first), (theirs, second)):
        base = f"http://127.0.0.1:8000/g/{second['game_token']}?pt="
        assert answer["game_link"] == base + placed["player_token"]
        assert {name: answer[name] for name in ("stake_amount", "prize_amount", "expires_at")} == {
            name: second[name] for name in ("stake_amount", "prize_amount", "expires_at")
        }
    assert first["player_token"] != second["player_token"]


def test_a_trailing_slash_of_the_frontend_is_harmless(client: Client, settings: Any) -> None:
    settings.FRONTEND_URL = "https://play.example.com/app/"
    stake(client, ALICE)
    link = stake(client, BOB)["game_link"]
    assert re.fullmatch(r"https://play\.example\.com/app/g/[\w-]+\?pt=[\w-]+", link)


def test_expired_says_why(client: Client) -> None:
    waited = stake(client, ALICE)
    first, second = stake(client, BOB, 2000), stake(client, CAROL, 2000)
    age()
    assert status(client, waited["queue_token"])["reason"] == "timed_out"
    for placed in (first, second):
        answer = status(client, placed["queue_token"])
        assert (answer["status"], answer["reason"]) == ("expired", "session_expired")
        assert "game_link" not in answer


def test_an_expired_entry_meets_nobody_without_any_clean_up(client: Client) -> None:
    created, waited = stake(client, ALICE, create_private=True), stake(client, BOB)
    age()
    assert stake(client, CAROL)["status"] == "queued"
    late = post(client, phone_number=DAVE, stake_amount=1000, match_code=created["match_code"])
    assert late.status_code == 409
    assert "expired" in late.json()["error"]
    # The player can stake again at once, and the end is stored.
    assert stake(client, BOB, 2000)["status"] == "queued"
    assert Entry.objects.get(pk=waited["queue_id"]).status == "expired"


def test_the_minutes_may_be_a_fraction(client: Client, settings: Any) -> None:
    settings.QUEUE_EXPIRY_MINUTES = 0.5
    placed = stake(client, ALICE)
    Entry.objects.update(expires_at=F("expires_at") - timedelta(seconds=20))
    assert status(client, placed["queue_token"])["status"] == "queued"
    Entry.objects.update(expires_at=F("expires_at") - timedelta(seconds=10))
    assert status(client, placed["queue_token"])["status"] == "expired"
    stake(client, ALICE)
    met = stake(client, BOB)
    assert met["status"] == "matched"
    Session.objects.update(expires_at=F("expires_at") - timedelta(seconds=20))
    assert client.get(f"/api/v1/game/{met['game_token']}").json()["status"] != "expired"
    Session.objects.update(expires_at=F("expires_at") - timedelta(seconds=10))
    assert client.get(f"/api/v1/game/{met['game_token']}").json()["status"] == "expired"


def test_life_starts_with_the_payment(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    placed = stake(client, ALICE)
    Entry.objects.update(created_at=django_timezone.now() - timedelta(hours=1))
    assert status(client, placed["queue_token"])["status"] == "awaiting_payment"
    paid(client, placed, ALICE)
    answer = status(client, placed["queue_token"])
    assert answer["status"] == "queued"
    assert datetime.fromisoformat(answer["expires_at"]) > django_timezone.now() + timedelta(minutes=9)


def test_expire_queue_writes_it_down_and_prints_the_numbers(client: Client, capsys: Any) -> None:
    stake(client, ALICE)
    stake(client, BOB, 2000)
    stake(client, CAROL, 2000)
    age()
    call_command("expire_queue")
    assert capsys.readouterr().out.startswith("activated: 0, expired: 1, refund messages queued: 0, ")
    assert sorted(Entry.objects.values_list("status", flat=True)) == ["expired", "matched", "matched"]
    call_command("expire_queue")
    assert capsys.readouterr().out.startswith("activated: 0, expired: 0, ")


def test_money_of_a_stake_that_met_nobody_is_due_back_and_the_player_told(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    placed = stake(client, ALICE)
    paid(client, placed, ALICE)
    assert not refunds.due().exists()
    age()
    # The money is due for refund at once, before any task has handled the end.
    assert refunds.due().get().amount == 1000
    answer = status(client, placed["queue_token"])
    assert (answer["status"], answer["reason"]) == ("expired", "timed_out")
    assert "We will refund 1000 UGX to 0772 000 001." in answer["message"]
    assert answer["refund"] == {"status": "due", "amount": 1000, "phone_number": "+256772000001"}
    call_command("expire_queue")
    assert status(client, placed["queue_token"]) == answer


def test_one_who_left_is_told_so(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    placed, other = stake(client, ALICE), stake(client, BOB, 2000)
    paid(client, placed, ALICE)
    assert cancel(Entry.objects.get(pk=placed["queue_id"]))
    assert cancel(Entry.objects.get(pk=other["queue_id"]))
    assert not cancel(Entry.objects.get(pk=placed["queue_id"]))
    answer = status(client, placed["queue_token"])
    assert answer["reason"] == "left"
    assert "We will refund" in answer["message"]
    # Only collected money is due for refund.
    assert [payment.amount for payment in refunds.due()] == [1000]
    assert status(client, other["queue_token"])["refund"] is None


def test_a_refund_that_was_paid_back_is_not_played(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    old, new = stake(client, ALICE), stake(client, ALICE, 2000)
    paid(client, new, ALICE)
    paid(client, old, ALICE)
    Payment.objects.filter(refund_due=True).update(refund_due=False, refunded_at=django_timezone.now())
    age()
    call_command("expire_queue")
    paid(client, old, ALICE)
    call_command("expire_queue")
    answer = status(client, old["queue_token"])
    assert (answer["status"], answer["reason"]) == ("expired", "refund_due")


def test_tokens_of_others_say_nothing(client: Client) -> None:
    placed = stake(client, ALICE)
    entry_id, _, signature = placed["queue_token"].partition(".")
    for forged in (f"{int(entry_id) + 1}.{signature}", f"{entry_id}.", entry_id, placed["player_token"]):
        assert status(client, forged)["status"] == "not_found"
    Entry.objects.all().delete()
    assert status(client, placed["queue_token"])["status"] == "not_found"


def test_tokens_are_safe_in_an_address(client: Client) -> None:
    first, second = stake(client, ALICE), stake(client, BOB)
    # The reference is not secret, because callbacks are authenticated.
    assert re.fullmatch(r"[0-9]{18}", second["transaction_id"])
    for token in (first["queue_token"], first["player_token"], second["game_token"]):
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", token)
        assert len(token) >= 22


def test_no_token_reaches_the_database(client: Client, settings: Any) -> None:
    settings.DEBUG = True
    with CaptureQueriesContext(
        connection,
    ) as queries:
        placed = stake(client, ALICE)
        status(client, placed["queue_token"])
    said = " ".join(query["sql"] for query in queries)
    assert "INSERT" in said
    assert placed["queue_token"].split(".")[1] not in said
    assert placed["player_token"] not in said


def test_the_poll_is_cheap(client: Client, django_assert_max_num_queries: Any) -> None:
    first, _ = stake(client, ALICE), stake(client, BOB)
    entry = Entry.objects.get(pk=first["queue_id"])
    assert queue_token(entry) == first["queue_token"]
    with django_assert_max_num_queries(3):
        status(client, first["queue_token"])


def test_expire_old_leaves_alone_what_another_holds(client: Client) -> None:
    """Locked entries are left for the next run, and the task does not wait for them."""
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("this database has no row locks")
    stake(client, ALICE)
    stake(client, BOB, 2000)
    age()
    holder = connection.copy()
    try:
        holder.set_autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute("SELECT id FROM game_entry WHERE stake_amount = 2000 FOR UPDATE")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '2s'")
        assert expire_old() == 1
    finally:
        holder.close()
        connection.close()
    assert expire_old() == 1


def test_a_poll_that_brings_nothing_new_is_a_304_of_one_query(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    placed = stake(client, ALICE)
    tags: list[str] = []

    def poll(tag: str = "") -> Any:
        headers = {"If-None-Match": tag} if tag else {}
        return client.get("/api/v1/game/queue/status", {"queue_token": placed["queue_token"]}, headers=headers)

    def changed(to: str) -> None:
        answer = poll(tags[-1] if tags else "")
        assert (answer.status_code, answer.json()["status"]) == (200, to)
        assert answer["ETag"] not in tags
        tags.append(answer["ETag"])
        with CaptureQueriesContext(connection) as queries:
            same = poll(tags[-1])
        assert (same.status_code, same.content, same["ETag"]) == (304, b"", tags[-1])
        assert len(queries) == 1

    changed("awaiting_payment")
    paid(client, placed, ALICE)
    changed("queued")
    expires_at = Entry.objects.get().expires_at
    Entry.objects.update(expires_at=django_timezone.now() - timedelta(seconds=1))
    changed("expired")
    Entry.objects.update(expires_at=expires_at)
    paid(client, stake(client, BOB), BOB)
    changed("matched")
    age()
    changed("expired")
    assert poll("other").status_code == 200
    assert client.get("/api/v1/game/queue/status?queue_token=x", headers={"If-None-Match": "y"}).status_code == 200


def test_an_invite_that_is_sent_changes_the_tag(client: Client, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    stake(client, ALICE, create_private=True, invite_phone=BOB)
    entry = Entry.objects.get()
    before = current_tag(entry.pk)
    assert before == current_tag(entry.pk) != current_tag(entry.pk, "sw")
    SmsMessage.objects.filter(dedupe_key=entry.invite_key).update(status="sent")
    assert current_tag(entry.pk) != before
    assert current_tag(entry.pk + 1) == ""
