"""Locks on PostgreSQL: the same order everywhere, short locks on stake levels, and commits that survive a crash."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import StringIO
from itertools import combinations_with_replacement
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.db.backends.signals import connection_created
from django.test import Client
from django.utils import timezone

from game import maintenance
from game.models import Entry, Session, StakeLevel
from game.rules.ending import cancel, expire_old
from game.rules.locks import lock_level
from game.rules.results import record_result
from game.signals import session_committed
from game.worker import Worker
from payments import journal, matches, refunds, services
from payments.models import MatchResult, Payment, Refund
from payments.rules.states import Account, Kind, Word
from payments.signals import current_use
from payments.worker import Loop
from sms.models import SmsMessage
from tests.conftest import Sandbox
from tests.crowd import together
from tests.game_helpers import callback, callback_body, paid, post, stake, status
from tests.payments.helpers import end_contest, later, order_payouts, paid_late, record_by_hand, settle

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer at a time"),
]


@pytest.fixture(autouse=True)
def _paid_later(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE, settings.SMS_DELIVERY = False, "worker"
    settings.UNPAID_STAKES_PER_PHONE_HOUR = 1000


def deadlocks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()")
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def _stake(phone: str, amount: int) -> Any:
    return post(Client(), phone_number=phone, stake_amount=amount).status_code


def _pay(phone: str) -> Any:
    payment = Payment.objects.filter(phone=f"+256{phone[1:]}").latest("pk")
    placed = {"transaction_id": payment.transaction_id, "stake_amount": payment.amount}
    return callback(Client(), callback_body(placed, phone)).status_code


def _cancel(phone: str) -> Any:
    return cancel(Entry.objects.select_related("player").filter(player__phone=f"+256{phone[1:]}").latest("pk"))


ACTIONS: dict[str, Callable[[str], Any]] = {
    "stake": partial(_stake, amount=1000),
    "pay": _pay,
    "cancel": _cancel,
    "expire": lambda phone: expire_old(),
}


@pytest.mark.parametrize("pair", list(combinations_with_replacement(ACTIONS, 2)), ids="+".join)
def test_no_pair_of_actions_deadlocks(collection: Sandbox, pair: tuple[str, str]) -> None:
    """Both actions of the pair run twice at the same time, for one phone and for two phones that may be matched."""
    before = deadlocks()
    for number in range(3):
        phones = [f"0772{number:02}00{other}1" for other in range(2)]
        for phone in phones:
            _stake(phone, 1000)
        answers = together(*(partial(ACTIONS[name], phone) for name in pair * 2 for phone in phones))
        assert 503 not in answers
    assert deadlocks() == before


@contextmanager
def held(sql: str) -> Iterator[None]:
    """Hold the locks of a statement in another connection. This connection waits for a lock 200 ms at most."""
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql)
            locked.set()
            done.wait(20)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert locked.wait(10)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '200ms'")
    try:
        yield
    finally:
        done.set()
        holder.join()


@pytest.mark.parametrize("cure", ["repeated callback", "game_worker"])
def test_a_callback_whose_lock_timed_out_is_a_503_and_its_entry_is_activated_later(client: Client, cure: str) -> None:
    alice, bob = stake(client, "0772009101"), stake(client, "0772009102")
    StakeLevel.objects.get_or_create(amount=1000)
    with held("SELECT FROM game_stakelevel WHERE amount = 1000 FOR UPDATE"):
        # First there is a lock timeout, then a refusal without waiting.
        for placed, phone in ((alice, "0772009101"), (bob, "0772009102")):
            answer = callback(client, callback_body(placed, phone))
            assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    # The money is recorded although the entry is inactive.
    assert set(Payment.objects.values_list("status", "callbacks__answered", "callbacks__refusal")) == {
        ("SUCCESS", 503, "")
    }
    assert status(client, alice["queue_token"])["status"] == "awaiting_payment"
    time.sleep(1)  # Wait until stakes at this level no longer fail at once.
    if cure == "repeated callback":
        paid(client, alice, "0772009101")
        paid(client, bob, "0772009102")
    else:
        task = next(task for task in maintenance.TASKS if task.every <= 1 and task.name == "activated")
        assert task.run() == (2, 0)
    assert {status(client, placed["queue_token"])["status"] for placed in (alice, bob)} == {"matched"}


def _entries_at(amount: int, phone: str) -> str:
    return f"UPDATE game_entry SET stake_amount = {amount} WHERE payment_id IN ({_payments_of(phone)})"


def _payments_of(phone: str) -> str:
    return f"SELECT id FROM payments_payment WHERE phone = '+256{phone[1:]}'"


def _paid_while(holder: Any, phone: str) -> Any:
    """Pay in another thread until this payment waits for a lock of `holder`. Return the thread."""
    thread = threading.Thread(target=together, args=(partial(_pay, phone),))
    thread.start()
    with connection.cursor() as cursor:
        for _ in range(500):
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return thread
            time.sleep(0.01)
    raise AssertionError("The payment does not wait for a lock.")


def test_a_payer_finds_an_opponent_who_began_to_wait_a_moment_ago(client: Client) -> None:
    """The payer waited for the lock of the stake level while the other player's stake began to wait."""
    first, second = "0772009820", "0772009821"
    placed = [stake(client, phone) for phone in (first, second)]
    paid(client, placed[0], first)
    with connection.cursor() as cursor:
        cursor.execute(_entries_at(2000, first))
        with transaction.atomic():
            cursor.execute("SELECT FROM game_stakelevel WHERE amount = 1000 FOR UPDATE")
            cursor.execute(_entries_at(1000, first))
            thread = _paid_while(cursor, second)
        thread.join(20)
    assert [status(client, one["queue_token"])["status"] for one in placed] == ["matched", "matched"]
    assert (_kinds(first), _kinds(second)) == (["payment_success", "match_found"], ["payment_success"])
    assert SmsMessage.objects.get(phone=f"+256{second[1:]}").holds_link
    for payment in Payment.objects.all():
        assert [event.kind for event in payment.events.order_by("pk")][-2:] == ["activated", "matched"]
        assert Account.IN_MATCH in journal.balances_of(payment)


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_payer_waits_for_the_only_opponent_whom_another_payer_is_matching(client: Client, *, succeeds: bool) -> None:
    first, second = "0772009830", "0772009831"
    placed = [stake(client, phone) for phone in (first, second)]
    paid(client, placed[0], first)
    with suppress(ZeroDivisionError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_entries_at(2000, first))
        thread = _paid_while(cursor, second)
        if not succeeds:
            raise ZeroDivisionError
    thread.join(20)
    expected = ["queued"] * 2 if succeeds else ["matched"] * 2
    assert [status(client, one["queue_token"])["status"] for one in placed] == expected


def test_a_reversal_waits_for_the_match_of_its_entry(client: Client) -> None:
    """Otherwise the reversal would treat the money as waiting although it is in a match."""
    phones = ["0772009840", "0772009841"]
    placed = [stake(client, phone) for phone in phones]
    paid(client, placed[0], phones[0])
    reverse = partial(callback, Client(), callback_body(placed[0], phones[0], status="FAILED"))
    paused, goes_on = threading.Event(), threading.Event()

    def pause(sender: Any, **_: Any) -> None:
        paused.set()
        goes_on.wait(10)

    session_committed.connect(pause)
    try:
        payer = threading.Thread(target=together, args=(partial(_pay, phones[1]),))
        payer.start()
        assert paused.wait(10)
        reversal = threading.Thread(target=together, args=(reverse,))
        reversal.start()
        time.sleep(0.3)
    finally:
        goes_on.set()
        session_committed.disconnect(pause)
    payer.join(20)
    reversal.join(20)
    payment = Payment.objects.get(phone=f"+256{phones[0][1:]}")
    assert (payment.place, payment.back) == ("contested", "in_match")
    assert [status(client, one["queue_token"])["status"] for one in placed] == ["matched", "matched"]


@pytest.mark.parametrize("friend", [False, True])
@pytest.mark.parametrize("change", ["the money arrives", "the money is due for refund"])
def test_a_match_uses_the_payment_of_the_opponent_as_it_is_after_the_wait(
    client: Client, settings: Any, change: str, *, friend: bool
) -> None:
    """A payer waits for the lock of an entry while the entry's payment changes. The entry itself does not change."""
    first, second = "0772009850", "0772009851"
    settings.MOMO_AUTO_APPROVE = change == "the money arrives"
    stake(client, first, create_private=friend)
    settings.MOMO_AUTO_APPROVE = False
    payment = Payment.objects.get()
    if change == "the money is due for refund":
        _pay(first)
    code = Entry.objects.get().match_code
    other = stake(client, second, **({"match_code": code} if friend else {}))
    with journal.writing():
        payment = matches.locked(payment.pk).payment
        if change == "the money arrives":
            now = timezone.now()
            matches.take_word(payment, Word.SUCCESSFUL, began=now, polled=False, cause=journal.NO_CAUSE)
        else:
            current_use().hold(payment)
            services.unused(payment)
        thread = _paid_while(None, second)
    thread.join(20)
    matched = change == "the money arrives"
    assert status(client, other["queue_token"])["status"] == ("matched" if matched else "queued")
    assert journal.balances_of(payment) == {Account.IN_MATCH if matched else Account.REFUND_DUE: 1000}
    assert Session.objects.count() == matched
    call_command("reconcile_payments", "--rebuild", stdout=StringIO())


OUTBOX = "LOCK TABLE sms_smsmessage IN ACCESS EXCLUSIVE MODE"


def _kinds(phone: str) -> list[str]:
    return list(SmsMessage.objects.filter(phone=f"+256{phone[1:]}").order_by("pk").values_list("kind", flat=True))


def test_no_message_is_lost_if_the_outbox_is_locked_when_a_callback_arrives(client: Client) -> None:
    first, second, third, fourth = (f"077200920{number}" for number in range(4))
    placed = {phone: stake(client, phone) for phone in (first, second, third)}
    placed[fourth] = stake(client, fourth, create_private=True, invite_phone="0772009209")
    paid(client, placed[first], first)
    bodies = {
        second: callback_body(placed[second], second),  # This payment completes a match with the first.
        third: callback_body(placed[third], third, status="FAILED"),
        fourth: callback_body(placed[fourth], fourth),
    }
    with held(OUTBOX):
        assert [callback(client, body).status_code for body in bodies.values()] == [503] * 3
    assert [callback(client, body).status_code for body in bodies.values()] == [200] * 3
    assert _kinds(first) == ["payment_success", "match_found"]
    assert _kinds(second) == ["payment_success"]
    assert _kinds(third) == ["payment_failed"]
    assert status(client, placed[third]["queue_token"])["status"] == "expired"
    assert _kinds(fourth) == ["payment_success"]
    assert _kinds("0772009209") == ["private_invite"]


@pytest.mark.parametrize("friend", [False, True])
def test_an_approved_stake_is_not_stored_without_its_messages(client: Client, settings: Any, *, friend: bool) -> None:
    """No later signal about a payment would queue the messages of such a stake again."""
    settings.MOMO_AUTO_APPROVE = True
    body: dict[str, Any] = {"phone_number": "0772009222", "stake_amount": 1000}
    if friend:
        body |= {"create_private": True, "invite_phone": "0772009223"}
    else:
        stake(client, "0772009221")
    with held(OUTBOX):
        assert post(client, **body).status_code == 503
    assert post(client, **body).status_code == 200
    assert _kinds("0772009223") == (["private_invite"] if friend else [])
    assert _kinds("0772009221") == _kinds("0772009222") == ([] if friend else ["match_found"])


@pytest.mark.parametrize("code", ["55P03", "57014", "40P01"], ids=["lock timeout", "statement timeout", "deadlock"])
def test_a_failure_whose_message_was_interrupted_is_a_503(client: Client, monkeypatch: Any, code: str) -> None:
    def interrupt(*args: Any, **values: Any) -> str:
        with connection.cursor() as cursor:
            cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$")
        raise AssertionError("No error was raised.")

    body = callback_body(stake(client, "0772009231"), "0772009231", status="FAILED")
    with monkeypatch.context() as broken:
        broken.setattr("game.notifications.render", interrupt)
        assert callback(client, body).status_code == 503
    assert callback(client, body).status_code == 200
    assert _kinds("0772009231") == ["payment_failed"]


@pytest.fixture
def due(collection: Sandbox, settings: Any) -> Payment:
    """A payment that is due for refund, and whose payer got the message about it."""
    settings.SMS_DELIVERY = "inline"
    payment = paid_late(collection, "+256772009701")
    settings.SMS_DELIVERY = "worker"
    return payment


@pytest.mark.parametrize("how", ["payout", "by hand"])
def test_no_message_about_a_refund_is_lost_if_the_outbox_is_locked(due: Payment, how: str) -> None:
    told = _kinds("0772009701")
    if how == "payout":
        order_payouts(Payment.objects.all(), "anna")
    with held(OUTBOX):
        if how == "payout":
            services.work_once()
        else:
            record_by_hand(Payment.objects.all(), "anna", "cash")
    assert (Refund.objects.get().state, Refund.objects.get().signal_due) == ("succeeded", True)
    for _ in range(2):
        call_command("expire_queue", stdout=StringIO())
    assert _kinds("0772009701") == [*told, "refunded"]


def test_no_message_about_a_prize_is_lost_if_the_outbox_is_locked(client: Client) -> None:
    for phone in ("0772009711", "0772009712"):
        paid(client, stake(client, phone), phone)
    match = Session.objects.get()
    record_result(match, "win", Entry.objects.get(player__phone="+256772009711"), by="game server")
    with held(OUTBOX):
        refunds.prize_by_hand(MatchResult.objects.get().pk, "anna", "cash")
    for _ in range(2):
        call_command("expire_queue", stdout=StringIO())
    assert [_kinds(phone)[-1] for phone in ("0772009711", "0772009712")] == ["prize_paid", "payment_success"]
    assert _kinds("0772009711").count("prize_paid") == 1


def test_no_message_is_lost_if_the_outbox_is_locked_when_a_poll_finds_the_money(
    client: Client, collection: Sandbox
) -> None:
    placed = stake(client, "0772009721")
    payment = Payment.objects.get()
    services.work_once()
    collection.tap(payment.transaction_id, "pay")
    later(payment, 5)
    with held(OUTBOX):
        services.work_once()
    assert status(client, placed["queue_token"])["status"] == "queued"
    assert _kinds("0772009721") == []
    for _ in range(2):
        assert services.tell_again()[1] == 0
    assert _kinds("0772009721") == ["payment_success"]


@pytest.mark.parametrize("kind", ["payment_success", "match_found", "payment_failed", "payment_held"])
def test_a_callback_whose_connection_is_lost_in_a_receiver_is_a_503(
    client: Client, kind: str, monkeypatch: Any
) -> None:
    for phone in ("0772009771", "0772009772"):
        placed = stake(client, phone)
        if kind == "match_found" and phone == "0772009771":
            paid(client, placed, phone)
    if kind == "payment_held":
        paid(client, placed, phone, "FAILED")
    body = callback_body(placed, phone, status="FAILED" if kind == "payment_failed" else "SUCCESS")
    with monkeypatch.context() as patched:
        patched.setattr("game.notifications.render", _lose_connection)
        assert callback(client, body).status_code == 503
    assert callback(client, body).status_code == 200
    sent = "payment_success" if kind == "match_found" else kind
    assert _kinds(phone)[-1] == sent
    assert _kinds("0772009771") == (["payment_success", "match_found"] if kind == "match_found" else [])


def test_a_callback_whose_connection_is_lost_after_a_bug_in_another_receiver_is_a_503(
    client: Client, monkeypatch: Any
) -> None:
    body = callback_body(stake(client, "0772009791"), "0772009791")
    with monkeypatch.context() as patched:
        patched.setattr("game.payment_receivers.activate_paid", lambda payment: 1 / 0)
        patched.setattr("game.notifications._text_success", _lose_connection)
        assert callback(client, body).status_code == 503
    assert callback(client, body).status_code == 200
    assert _kinds("0772009791") == ["payment_success"]


@pytest.mark.parametrize("step", ["cancel", "refund"])
def test_an_end_whose_connection_is_lost_in_a_receiver_is_repeated(client: Client, step: str, monkeypatch: Any) -> None:
    paid(client, stake(client, "0772009781"), "0772009781")
    entry = Entry.objects.get()

    def end() -> None:
        if step == "cancel":
            cancel(entry)
        else:
            refunds.refund_by_hand(entry.payment_id, "anna", "cash")

    if step == "refund":
        cancel(entry)
    with monkeypatch.context() as patched:
        patched.setattr("game.notifications.render", _lose_connection)
        with pytest.raises(OperationalError):
            end()
    end()
    assert _kinds("0772009781") == ["payment_success", "refund_due", "refunded"][: 2 if step == "cancel" else 3]


def _lose_connection(*args: Any, **values: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    raise AssertionError("The connection is not lost.")


def test_a_repeated_success_is_recorded_although_the_outbox_is_locked(client: Client) -> None:
    """After an error outside a savepoint, PostgreSQL ends the transaction: COMMIT rolls back without an exception."""
    paid(client, stake(client, "0772009761"), "0772009761")
    before = Payment.objects.get()
    with held(OUTBOX):
        repeated = settle(before.pk, Payment.Status.SUCCESS, by="asking")
    assert repeated.use_error is not None
    assert repeated.signal_due_since is not None  # The signal is sent again, and the message is then queued.
    assert Payment.objects.get().ok_at == repeated.ok_at != before.ok_at


def test_an_operator_s_mark_is_not_recorded_without_its_message(client: Client) -> None:
    stake(client, "0772009751")
    payment = Payment.objects.get()
    mark = partial(matches.judge, payment.pk, Kind.SETTLED_PAID, actor="anna", note="portal")
    with held(OUTBOX), pytest.raises(OperationalError):
        mark()
    assert (Payment.objects.get().status, _kinds("0772009751")) == ("PENDING", [])
    assert mark().status == "SUCCESS"
    assert _kinds("0772009751") == ["payment_success"]


def _paid_without_activation(client: Client, phone: str) -> dict[str, Any]:
    """Stake and pay while the stake level is locked, so that the entry is not activated.

    Return the response to the stake.
    """
    placed = stake(client, phone)
    StakeLevel.objects.get_or_create(amount=1000)
    with held("SELECT FROM game_stakelevel WHERE amount = 1000 FOR UPDATE"):
        assert callback(client, callback_body(placed, phone)).status_code == 503
    time.sleep(1)  # Wait until stakes at this level no longer fail at once.
    return placed


def test_a_late_activation_and_its_message_are_one_transaction(client: Client) -> None:
    placed = _paid_without_activation(client, "0772009731")
    with held(OUTBOX):
        assert maintenance.activate_left() == (0, 1)
    assert status(client, placed["queue_token"])["status"] == "awaiting_payment"
    assert maintenance.activate_left() == (1, 0)
    assert _kinds("0772009731") == ["payment_success"]


def test_a_reversal_before_a_late_activation_ends_the_entry(client: Client) -> None:
    placed = _paid_without_activation(client, "0772009741")
    assert callback(client, callback_body(placed, "0772009741", status="FAILED")).status_code == 200
    for task in maintenance.TASKS:
        task.run()
    assert Payment.objects.get().place == "contested"
    assert status(client, placed["queue_token"])["status"] == "expired"
    # The player can stake again.
    assert stake(client, "0772009741")["status"] == "awaiting_payment"
    # The provider had the money all the time. Nobody has told the player yet that it arrived.
    assert _kinds("0772009741") == []
    assert end_contest(Payment.objects.earliest("pk").pk)
    assert _kinds("0772009741") == ["payment_held"]


def test_a_late_success_whose_message_timed_out_is_a_503(client: Client) -> None:
    placed = stake(client, "0772009301")
    callback(client, callback_body(placed, "0772009301", status="FAILED"))
    with held(OUTBOX):
        assert callback(client, callback_body(placed, "0772009301")).status_code == 503
    assert callback(client, callback_body(placed, "0772009301")).status_code == 200
    assert _kinds("0772009301") == ["payment_failed", "payment_held"]


def test_a_result_whose_messages_timed_out_is_recorded_again(client: Client) -> None:
    for phone in ("0772009401", "0772009402"):
        paid(client, stake(client, phone), phone)
    match = Session.objects.get()
    with held(OUTBOX), pytest.raises(OperationalError):
        record_result(match, "draw", None, by="game server")
    assert record_result(match, "draw", None, by="game server")
    assert [_kinds(phone)[-1] for phone in ("0772009401", "0772009402")] == ["refund_due"] * 2


def test_a_player_who_leaves_before_a_late_activation_gets_the_money_back(client: Client) -> None:
    placed = stake(client, "0772009501")
    StakeLevel.objects.get_or_create(amount=1000)
    with held("SELECT FROM game_stakelevel WHERE amount = 1000 FOR UPDATE"):
        assert callback(client, callback_body(placed, "0772009501")).status_code == 503
    assert _cancel("0772009501")
    time.sleep(1)  # Wait until stakes at this level no longer fail at once.
    for task in maintenance.TASKS:
        task.run()
    assert Payment.objects.get().place == "refund_due"
    assert status(client, placed["queue_token"])["status"] == "expired"
    assert _kinds("0772009501") == ["refund_due"]


def test_a_changed_column_is_a_503_and_a_new_connection(client: Client) -> None:
    """A statement that was prepared before a migration of its columns fails in PostgreSQL."""
    placed = stake(client, "0772009601")
    pending = callback_body(placed, "0772009601", status="PENDING")
    for _ in range(4):
        callback(client, pending)
    with _altered("ALTER TABLE payments_payment ALTER COLUMN reason TYPE varchar({})", 300, 200):
        assert [callback(client, pending).status_code for _ in range(3)] == [503, 200, 200]


@contextmanager
def _altered(sql: str, now: int, later: int) -> Iterator[None]:
    def run(length: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql.format(length))
        connection.close()

    for length in (now, later):
        thread = threading.Thread(target=run, args=(length,))
        thread.start()
        thread.join(20)
        if length == now:
            yield


def test_only_the_levels_transaction_commits_without_the_disk() -> None:
    def setting() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            return str(cursor.fetchone()[0])

    with transaction.atomic():
        lock_level(1000)
        assert setting() == "off"
    assert setting() == "on"


def test_the_locks_of_a_lost_worker_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the limit, PostgreSQL would notice a lost machine with an open transaction only after hours."""
    monkeypatch.setattr(Loop, "start", lambda _loop: None)
    monkeypatch.setattr("game.worker.stop_all", lambda _loops, _seconds: True)
    worker = Worker(1.0, lambda _line: None)
    worker.stop()
    try:
        assert worker.run()
        connection.close()
        with connection.cursor() as cursor:
            cursor.execute("SHOW idle_in_transaction_session_timeout")
            assert cursor.fetchone() == ("1min",)
    finally:
        connection_created.disconnect(dispatch_uid="payments.database")
        connection.close()
