"""The messages: exact text, recipient, sent once, and the effects of a failing message."""

import re
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.dispatch import Signal
from django.test import Client
from django.utils import timezone

from game.models import Entry, Session
from game.notifications import render
from game.rules.matching import activate
from game.signals import private_match_created, session_committed
from game.tokens import game_link
from payments.models import Payment
from payments.refunds import refund_by_hand
from payments.signals import momo_status_changed
from sms.models import SmsMessage
from sms.outbox import worth_resending
from sms.testing import Texts, assert_texted
from sms.text.segments import segments
from tests.conftest import Sandbox
from tests.game_helpers import ALICE, BOB, CAROL, DAVE, paid, post, stake, status

pytestmark = pytest.mark.django_db(transaction=True)

SITE = "http://127.0.0.1:8000"


def rows(kind: str = "") -> list[SmsMessage]:
    found = SmsMessage.objects.order_by("pk")
    return list(found.filter(kind=kind) if kind else found)


def test_match_texts(client: Client, sandbox: Sandbox) -> None:
    first, second = stake(client, ALICE), stake(client, BOB)
    [session] = Session.objects.all()
    for phone, placed in ((ALICE, first), (BOB, second)):
        link = f"{SITE}/g/{session.token}?pt={placed['player_token']}"
        row = assert_texted(phone, f"Opponent found! Play here: {link}", kind="match_found")
        assert row.status == "sent"
        # A link to an expired match is never sent.
        assert row.expires_at == session.expires_at
        assert (row.dedupe_key or "").startswith(f"session:{session.pk}:")
    assert sorted(item["to"] for item in sandbox.inbox()) == [ALICE, BOB]


def test_invite_text(client: Client, settings: Any) -> None:
    settings.FRONTEND_URL = "https://play.example.com/it's/?a=1&b=<2>/"
    created = stake(client, ALICE, 25000, create_private=True, invite_phone="256 772-000-002", display_name="Win $$$!")
    entry = Entry.objects.get()
    [row] = rows()
    code = created["match_code"]
    assert row.text == (
        f"Join my PlayMatatu private match! Code: {code}. Stake: 25000 UGX. Expires in 10 minutes. "
        f"Play: https://play.example.com/it's/?a=1&b=<2>/?match_code={code}"
    )
    assert (row.phone, row.kind) == ("+256772000002", "private_invite")
    assert row.dedupe_key == f"invite:{entry.pk}"
    assert row.expires_at == entry.expires_at


@pytest.mark.parametrize(("minutes", "said"), [(10, 10), (1, 1), (0.5, 1), (90, 90), (0.01, 1)])
def test_ttl_is_whole_minutes(client: Client, settings: Any, minutes: float, said: int) -> None:
    settings.QUEUE_EXPIRY_MINUTES = minutes
    stake(client, ALICE, create_private=True, invite_phone=BOB)
    assert f"Expires in {said} minutes." in rows()[0].text


def test_payment_texts(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    failing = stake(client, CAROL, 1234567)
    paid(client, failing, CAROL, "FAILED")
    assert rows()[-1].text == "Payment of 1234567 UGX failed. Please retry or contact support."
    creator = stake(client, ALICE, create_private=True, invite_phone=BOB)
    paid(client, creator, ALICE)
    code = status(client, creator["queue_token"])["match_code"]
    assert [row.text for row in rows("payment_success")] == [f"Payment of 1000 UGX received. Share your code: {code}"]
    joiner = stake(client, BOB, match_code=code.lower())
    paid(client, joiner, BOB)
    link = f"{SITE}/g/{Session.objects.get().token}?pt="
    assert rows("payment_success")[-1].text == (
        f"Payment of 1000 UGX received. Opponent found! Play here: {link}{joiner['player_token']}"
    )
    assert rows("payment_success")[-1].expires_at == Session.objects.get().expires_at
    assert rows("payment_success")[0].expires_at == Entry.objects.get(pk=creator["queue_id"]).expires_at
    [other] = rows("match_found")
    assert other.phone == "+256772000001"
    assert [row.kind for row in rows()] == [
        "payment_failed",
        "private_invite",
        "payment_success",
        "match_found",
        "payment_success",
    ]


def test_a_payment_message_is_offered_again_only_while_it_is_true(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    alice, bob, carol, failing = (
        stake(client, ALICE),
        stake(client, BOB),
        stake(client, CAROL, 2000),
        stake(client, DAVE),
    )
    for placed, phone in ((alice, ALICE), (bob, BOB), (carol, CAROL)):
        paid(client, placed, phone)
    paid(client, failing, DAVE, "FAILED")
    SmsMessage.objects.update(status="failed")

    def offered() -> list[tuple[str, str]]:
        worth = worth_resending(SmsMessage.objects.exclude(kind="match_found"))
        return [(row.kind, f"0{row.phone[4:]}") for row in rows() if row.pk in worth]

    # Alice's message has no link, because it was sent before Bob joined.
    successes = [("payment_success", phone) for phone in (BOB, CAROL)]
    assert offered() == [*successes, ("payment_failed", DAVE)]
    Entry.objects.filter(status="queued").update(expires_at=timezone.now() - timedelta(seconds=1))
    assert offered() == [*successes[:1], ("payment_failed", DAVE)]
    Session.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert offered() == [("payment_failed", DAVE)]


def test_a_promised_refund_is_not_promised_again_once_paid(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    paid(client, stake(client, ALICE), ALICE)
    Entry.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    call_command("expire_queue", stdout=StringIO())
    SmsMessage.objects.update(status="failed")
    [due] = rows("refund_due")
    assert worth_resending(SmsMessage.objects.all()) == [due.pk]
    refund_by_hand(Payment.objects.get().pk, "grace", "in cash")
    SmsMessage.objects.update(status="failed")
    [refunded] = rows("refunded")
    assert worth_resending(SmsMessage.objects.all()) == [refunded.pk]


def test_the_text_goes_to_the_number_on_record(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    placed = stake(client, "+256772000001")
    paid(client, placed, "00256 772 000 001")
    assert [row.phone for row in rows()] == ["+256772000001"]


def test_a_late_repeat_of_an_approved_stake_texts_nothing(client: Client) -> None:
    """With auto-approval there is no message about the payment, even if a provider reports it later."""
    placed = stake(client, ALICE)
    for word in ("SUCCESS", "SUCCESS", "FAILED"):
        paid(client, placed, ALICE, word)
    assert rows() == []
    # The provider took the money back, so the entry must not be matched.
    assert status(client, placed["queue_token"])["status"] == "expired"


def test_the_texts_fit_and_are_plain(client: Client) -> None:
    values = {"link": f"{SITE}/g/{'x' * 24}?pt={'y' * 43}", "amount": "5000000", "stake": "5000000", "ttl": "10"}
    values |= {"code": "ABC234", "frontend_url": "https://play.example.com"}
    kinds = (
        "match_found",
        "private_invite",
        "payment_success",
        "payment_failed",
        "payment_held",
        "refund_due",
        "refunded",
    )
    for kind in kinds:
        text = render(kind, **values)
        assert text == text.strip()
        assert "\n" not in text
        assert segments(text).encoding == "GSM-7"
        assert segments(text).count <= (2 if "link" in text or "http" in text else 1)


def test_a_template_can_be_overridden(client: Client, sms_texts: Texts, settings: Any, tmp_path: Any) -> None:
    folder = tmp_path / "game" / "sms"
    folder.mkdir(parents=True)
    (folder / "match_found.txt").write_text("{% autoescape off %}Tusanga omuzannyi: {{ link }}{% endautoescape %}\n")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    stake(client, ALICE)
    link = stake(client, BOB)["game_link"]
    assert_texted(BOB, f"Tusanga omuzannyi: {link}")
    assert [text.kind for text in sms_texts] == ["match_found"] * 2


# --- signals


@pytest.fixture
def heard() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Record the arguments of each signal, and that it was sent in the transaction of its change."""
    from django.db import connection

    told: list[tuple[str, dict[str, Any]]] = []
    signals: dict[str, Signal] = {
        "private": private_match_created,
        "session": session_committed,
        "payment": momo_status_changed,
    }
    receivers = {}
    for name, signal in signals.items():

        def note(sender: Any, name: str = name, **kwargs: Any) -> None:
            assert connection.in_atomic_block
            told.append((name, kwargs))

        receivers[name] = note
        signal.connect(note)
    yield told
    for name, signal in signals.items():
        signal.disconnect(receivers[name])


def test_what_the_signals_tell(client: Client, heard: list[tuple[str, dict[str, Any]]], settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    creator = stake(client, ALICE, create_private=True, invite_phone=BOB, display_name="Alice")
    assert heard == []
    paid(client, creator, ALICE)
    assert [name for name, _ in heard] == ["private", "payment"] or [name for name, _ in heard] == [
        "payment",
        "private",
    ]
    told = dict(heard)
    entry, payment = told["private"]["entry"], told["payment"]["payment"]
    assert told["private"]["invite_phone"] == "+256772000002"
    assert (entry.phone, entry.stake_amount, entry.display_name) == ("+256772000001", 1000, "Alice")
    assert (entry.id, len(entry.match_code)) == (creator["queue_id"], 6)
    assert (payment.phone, payment.amount, payment.status) == ("+256772000001", 1000, "SUCCESS")
    assert payment.transaction_id == creator["transaction_id"]
    assert told["payment"]["previous_status"] == "PENDING"
    heard.clear()
    joiner = stake(client, BOB, match_code=entry.match_code)
    paid(client, joiner, BOB)
    session = dict(heard)["session"]["session"]
    assert (session.pk, session.stake_amount) == (Session.objects.get().id, 1000)
    assert session.token == status(client, joiner["queue_token"])["game_token"]
    assert {entry.phone for entry in session.entries.all()} == {"+256772000001", "+256772000002"}


def test_a_private_match_without_a_number_is_told_too(client: Client, heard: list[tuple[str, Any]]) -> None:
    stake(client, ALICE, create_private=True)
    assert [(name, kwargs["invite_phone"]) for name, kwargs in heard] == [("private", "")]
    assert rows() == []


def test_what_is_rolled_back_texts_nothing(client: Client, sandbox: Sandbox, monkeypatch: Any) -> None:
    """If the transaction is rolled back after the messages were queued, the messages are deleted too."""
    stake(client, ALICE)
    queued = []

    def crash(*args: Any, **kwargs: Any) -> None:
        activate(*args, **kwargs)
        queued.append(SmsMessage.objects.count())
        raise RuntimeError("crash before the commit")

    monkeypatch.setattr("game.rules.placing.activate", crash)
    assert post(Client(raise_request_exception=False), phone_number=BOB, stake_amount=1000).status_code == 500
    assert queued == [2]
    assert Session.objects.count() == 0
    assert rows() == []
    assert sandbox.inbox() == []


@pytest.mark.parametrize("path", ["private", "session", "success", "failed"])
def test_one_broken_text_changes_nothing_else(client: Client, monkeypatch: Any, caplog: Any, path: str) -> None:
    """A SQL error in a receiver is logged, and the transaction continues.

    Without a savepoint, PostgreSQL would abort it.
    """
    from django.db import connection

    def broken(*args: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO no_such_table VALUES (1)")

    with monkeypatch.context() as patch:
        patch.setattr("game.notifications.queue_sms", broken)
        patch.setattr("game.notifications.queue_many", broken)
        if path == "private":
            created = stake(client, ALICE, create_private=True, invite_phone=BOB)
            assert (created["status"], created["sms_invite"], created["sms_invite_sent"]) == (
                "private_created",
                None,
                False,
            )
        elif path == "session":
            stake(client, ALICE)
            assert stake(client, BOB)["status"] == "matched"
        else:
            patch.setattr("django.conf.settings.MOMO_AUTO_APPROVE", False)
            placed = stake(client, ALICE)
            paid(client, placed, ALICE, path.upper())
            assert Payment.objects.get().status == path.upper()
            expected = {"success": "queued", "failed": "expired"}[path]
            assert status(client, placed["queue_token"])["status"] == expected
    assert rows() == []
    assert "no_such_table" in caplog.text


def test_no_message_about_a_payment_is_lost_by_an_error(client: Client, settings: Any, monkeypatch: Any) -> None:
    """After any error, not only a lock timeout, `game_worker` sends the signal again until every receiver succeeds."""
    settings.MOMO_AUTO_APPROVE = False
    bob, carol = (stake(client, phone, 2000) for phone in (BOB, CAROL))
    paid(client, bob, BOB)
    alice, dave = (stake(client, phone) for phone in (ALICE, DAVE))
    with monkeypatch.context() as broken:
        broken.setattr("game.notifications.render", lambda *args, **values: 1 / 0)
        paid(client, carol, CAROL)  # completes the match with Bob
        paid(client, alice, ALICE)
        paid(client, dave, DAVE, "FAILED")
        since = set(Payment.objects.values_list("signal_due_since", flat=True))
        with pytest.raises(CommandError, match="3 could not be activated"):
            call_command("expire_queue", stdout=StringIO())
    # The alert about overdue work counts from the first error.
    assert set(Payment.objects.values_list("signal_due_since", flat=True)) == since
    assert [row.kind for row in rows()] == ["payment_success"]
    # There is no limit of time: an error in the code may last for days.
    unannounced = Payment.objects.filter(signal_due_since__isnull=False)
    assert unannounced.update(signal_due_since=timezone.now() - timedelta(days=30)) == 3
    for _ in range(2):
        call_command("expire_queue", stdout=StringIO())
    found = {(row.kind, row.phone, "Play here: " in row.text) for row in rows()[1:]}
    failed, opened, matched = (f"+256{phone[1:]}" for phone in (DAVE, ALICE, CAROL))
    assert found == {
        ("payment_failed", failed, False),
        ("payment_success", opened, False),
        ("payment_success", matched, True),
        ("match_found", rows()[0].phone, True),
    }
    assert len(rows()) == 5
    assert not Payment.objects.filter(signal_due_since__isnull=False).exists()


@pytest.mark.parametrize("errors", [1, 2])
def test_an_invite_is_not_lost_by_an_error(client: Client, settings: Any, monkeypatch: Any, errors: int) -> None:
    """After an error the invite is queued with the message about the payment, at the latest by `game_worker`."""
    settings.MOMO_AUTO_APPROVE = False
    left = errors

    def failing(kind: str, *args: Any, **values: Any) -> str:
        nonlocal left
        if kind == "private_invite" and left:
            left -= 1
            raise RuntimeError("broken template")
        return render(kind, *args, **values)

    monkeypatch.setattr("game.notifications.render", failing)
    paid(client, stake(client, ALICE, create_private=True, invite_phone=BOB), ALICE)
    assert len(rows("private_invite")) == (errors == 1)
    for _ in range(2):
        call_command("expire_queue", stdout=StringIO())
    assert sorted(row.kind for row in rows()) == ["payment_success", "private_invite"]


def test_one_players_broken_text_leaves_the_others(client: Client, monkeypatch: Any) -> None:
    def half(entry: Entry) -> Any:
        return game_link(entry) if entry.phone == "+256772000002" else 1 / 0

    monkeypatch.setattr("game.notifications.game_link", half)
    stake(client, ALICE)
    stake(client, BOB)
    assert [row.phone for row in rows()] == ["+256772000002"]


def test_signals_sent_twice_text_once(client: Client, settings: Any) -> None:
    stake(client, ALICE, create_private=True, invite_phone=BOB)
    stake(client, BOB, 2000)
    stake(client, CAROL, 2000)
    assert len(rows()) == 3
    entry = Entry.objects.select_related("player").get(stake_amount=1000)
    private_match_created.send_robust(Entry, entry=entry, invite_phone=entry.invite_phone)
    session_committed.send_robust(Session, session=Session.objects.get())
    assert len(rows()) == 3


def test_expire_queue_goes_on_after_one_that_fails(client: Client, settings: Any, monkeypatch: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    placed = [stake(client, phone, amount) for phone, amount in ((ALICE, 1000), (BOB, 2000), (CAROL, 3000))]
    with monkeypatch.context() as patch:
        patch.setattr("game.payment_receivers.activate_paid", lambda payment: 1 / 0)
        for answer, phone in zip(placed, (ALICE, BOB, CAROL), strict=True):
            paid(client, answer, phone)
    from game import maintenance
    from game.rules.matching import activate_paid

    def sometimes(payment: Payment) -> Any:
        return 1 / 0 if payment.amount == 2000 else activate_paid(payment)

    with monkeypatch.context() as patch:
        patch.setattr(maintenance, "activate_paid", sometimes)
        patch.setattr("game.payment_receivers.activate_paid", sometimes)
        with pytest.raises(CommandError, match="2 could not"):  # the task, and the signal that is sent again
            call_command("expire_queue")
    states = [status(client, answer["queue_token"])["status"] for answer in placed]
    assert states == ["queued", "awaiting_payment", "queued"]
    call_command("expire_queue")
    assert status(client, placed[1]["queue_token"])["status"] == "queued"
    assert [row.kind for row in rows()] == ["payment_success"] * 3


def test_an_expired_invite_is_not_sent(client: Client, sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    created = stake(client, ALICE, create_private=True, invite_phone=BOB)
    assert created["sms_invite"]["status"] == "queued"
    assert created["sms_invite_sent"] is False
    assert re.search("being sent", created["message"])
    row = rows()[0]
    assert row.expires_at - row.created_at <= timedelta(minutes=10)
    assert sandbox.inbox() == []
