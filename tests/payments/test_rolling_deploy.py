"""During a deploy, the former release writes the same tables without a journal."""

import threading
import time
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from game.models import Entry, Player, StakeLevel
from game.rules import locks
from game.rules.ending import cancel
from game.signals import session_committed
from payments import journal, ledger, matches, reconciliation, refunds, services
from payments.models import Payment, PaymentEvent
from payments.rules.states import Account, Event, Kind, Word
from tests.crowd import together
from tests.game.rules.test_lock_order import held
from tests.game_helpers import ALICE, BOB, age, paid, paid_stake, stake
from tests.payments.helpers import fresh, settle

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_approval(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False


def sql(statement: str, *values: str | int | datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def paid_by_former_release(phone: str, now: datetime) -> Entry:
    """A stake stored and settled as paid by the former release, with only the columns that it knows."""
    Player.objects.get_or_create(phone="+256" + phone[1:])
    sql(
        "INSERT INTO payments_payment (transaction_id, phone, amount, status, refund_due, created_at, collection, "
        "provider, network, description, provider_id, settled_by, reason, asks, contested) "
        "VALUES (%s, %s, 1000, 'PENDING', %s, %s, '', '', '', '', '', '', '', 0, %s)",
        "former", "+256" + phone[1:], False, now, False,
    )  # fmt: skip
    payment = Payment.objects.get(transaction_id="former")
    entry = Entry.objects.create(
        player=Player.objects.get(phone="+256" + phone[1:]), payment=payment, stake_amount=1000
    )
    sql(
        "UPDATE payments_payment SET status = 'SUCCESS', settled_at = %s, settled_by = 'callback', collected_at = %s "
        "WHERE id = %s",
        now, now, payment.pk,
    )  # fmt: skip
    return entry


def match_by_former_release(waiting: Entry, paid: Entry, now: datetime) -> None:
    sql(
        "INSERT INTO game_session (token, stake_amount, prize_amount, created_at, expires_at) "
        "VALUES ('former', 1000, 1800, %s, %s)",
        now, now + timedelta(hours=1),
    )  # fmt: skip
    for entry in (waiting, paid):
        sql(
            "UPDATE game_entry SET status = 'matched', session_id = (SELECT MAX(id) FROM game_session), "
            "opened_at = COALESCE(opened_at, %s), expires_at = COALESCE(expires_at, %s) WHERE id = %s",
            now, now + timedelta(hours=1), entry.pk,
        )  # fmt: skip


def waiting_by_former_release(client: Client) -> Entry:
    """A stake accepted by this release, and settled and activated by the former release."""
    now = timezone.now()
    entry = Entry.objects.get(pk=stake(client, ALICE)["queue_id"])
    sql(
        "UPDATE payments_payment SET status = 'SUCCESS', settled_at = %s, settled_by = 'callback', collected_at = %s "
        "WHERE id = %s",
        now, now, entry.payment_id,
    )  # fmt: skip
    sql(
        "UPDATE game_entry SET status = 'queued', opened_at = %s, expires_at = %s WHERE id = %s",
        now, now + timedelta(minutes=30), entry.pk,
    )  # fmt: skip
    return entry


def balances() -> dict[Account, int]:
    return {account: amount for account, amount in ledger.balances().items() if amount}


def assert_journals_agree() -> None:
    assert [reconciliation.differs(payment) for payment in Payment.objects.all()] == [""] * Payment.objects.count()
    assert journal.left_to_adopt() == 0


@pytest.mark.parametrize("column", ["contested", "refund_due", "refunded_at"])
def test_an_entry_whose_money_the_former_release_has_moved_is_not_matched(client: Client, column: str) -> None:
    """The payment is not adopted yet, so its `place` is still the former one."""
    paid_stake(client, ALICE)
    sql(f"UPDATE payments_payment SET {column} = %s", timezone.now() if column == "refunded_at" else True)
    assert paid_stake(client, BOB).session is None


def test_a_payment_whose_refund_is_contradictory_is_polled_soon(client: Client) -> None:
    paid = {"status": "SUCCESS", "collected_at": timezone.now(), "provider": "dmarkpay"}
    payment = Payment.objects.create(phone="+256772000001", amount=1000, **paid)
    payment.refunds.create(amount=1000, how="payout", state="succeeded")
    assert journal.adopt() == 1
    payment.refresh_from_db()
    assert (payment.place, payment.next_ask_at is not None) == ("refunded", True)


def test_a_match_that_the_former_release_made_is_booked_for_both(client: Client) -> None:
    now = timezone.now()
    waiting = paid_stake(client, ALICE)
    paid = paid_by_former_release(BOB, now)
    match_by_former_release(waiting, paid, now)
    assert balances() == {Account.PROVIDER: 1000, Account.WAITING: 1000}
    services.work_once()
    assert balances() == {Account.PROVIDER: 1000, Account.OPENING: -1000, Account.IN_MATCH: 2000}
    assert_journals_agree()
    written = PaymentEvent.objects.count()
    services.work_once()
    assert PaymentEvent.objects.count() == written


def test_a_match_that_this_release_made_is_booked_once(client: Client) -> None:
    for phone in (ALICE, BOB):
        paid_stake(client, phone)
    Payment.objects.update(stale=True)
    services.work_once()
    assert balances() == {Account.PROVIDER: 2000, Account.IN_MATCH: 2000}
    assert_journals_agree()


def test_a_payment_that_the_former_release_settled_waits(client: Client) -> None:
    entry = waiting_by_former_release(client)
    assert fresh(entry.payment).stale
    services.work_once()
    assert balances() == {Account.OPENING: -1000, Account.WAITING: 1000}
    assert_journals_agree()


@pytest.mark.parametrize("created_by_former_release", [False, True])
def test_a_stake_that_the_former_release_activated_is_matched(
    client: Client, *, created_by_former_release: bool
) -> None:
    entry = waiting_by_former_release(client)
    if created_by_former_release:
        Payment.objects.update(version=0, stale=False)
    other = paid_stake(client, BOB)
    assert other.session is not None
    entry.refresh_from_db()
    assert entry.session == other.session
    services.work_once()
    assert balances() == {Account.PROVIDER: 1000, Account.OPENING: -1000, Account.IN_MATCH: 2000}
    assert_journals_agree()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite runs one write transaction at a time")
def test_a_stake_that_is_matched_while_it_is_adopted_is_booked_in_its_match(client: Client) -> None:
    entry = waiting_by_former_release(client)
    paused, goes_on, adopting = threading.Event(), threading.Event(), threading.Event()

    def pause(sender: Any, **_: Any) -> None:
        paused.set()
        goes_on.wait(10)

    def adopt() -> None:
        adopting.set()
        journal.adopt()

    session_committed.connect(pause)
    try:
        payer = threading.Thread(target=together, args=(partial(paid_stake, Client(), BOB),))
        payer.start()
        assert paused.wait(10)
        adoption = threading.Thread(target=together, args=(adopt,))
        adoption.start()
        assert adopting.wait(10)
        time.sleep(0.3)
    finally:
        goes_on.set()
        session_committed.disconnect(pause)
    payer.join(20)
    adoption.join(20)
    entry.refresh_from_db()
    assert entry.session is not None
    assert balances() == {Account.PROVIDER: 1000, Account.OPENING: -1000, Account.IN_MATCH: 2000}
    assert_journals_agree()


@pytest.fixture
def received(client: Client, monkeypatch: Any) -> Entry:
    """A stake that is paid, but not activated, because a receiver of this release failed."""
    placed = stake(client, ALICE)
    with monkeypatch.context() as broken:
        broken.setattr("game.payment_receivers.activate_paid", lambda payment: 1 / 0)
        paid(client, placed, ALICE)
    return Entry.objects.select_related("player", "payment").get()


def test_a_stale_payment_is_activated_when_its_signal_is_repeated(received: Entry) -> None:
    Payment.objects.update(stale=True)
    assert services.tell_again() == (1, 0)
    assert balances() == {Account.PROVIDER: 1000, Account.WAITING: 1000}
    assert_journals_agree()


@pytest.mark.parametrize("then", ["waits", "repeated", "matched", "cancelled", "refunded", "reversed"])
def test_a_stake_that_the_former_release_activated_late_is_booked(client: Client, received: Entry, then: str) -> None:
    """The former release does not change the payment, because this release had settled it."""
    now = timezone.now()
    sql("UPDATE game_entry SET status = 'queued', opened_at = %s, expires_at = %s", now, now + timedelta(minutes=30))
    if then == "cancelled":
        assert cancel(received)
    elif then == "refunded":
        age()
        refunds.refund_by_hand(received.payment_id, "anna", "cash")
    elif then == "reversed":
        settle(received.payment_id, Payment.Status.FAILED, by="callback")
    else:
        if then == "repeated":
            settle(received.payment_id, Payment.Status.SUCCESS, by="callback")
        if then == "matched":
            assert paid_stake(client, BOB).session is not None
        services.tell_again()
    expected = {
        "waits": {Account.PROVIDER: 1000, Account.WAITING: 1000},
        "repeated": {Account.PROVIDER: 1000, Account.WAITING: 1000},
        "matched": {Account.PROVIDER: 2000, Account.IN_MATCH: 2000},
        "cancelled": {Account.PROVIDER: 1000, Account.REFUND_DUE: 1000},
        "refunded": {},
        "reversed": {Account.PROVIDER: 1000, Account.CONTESTED: 1000},
    }
    assert balances() == expected[then]
    assert_journals_agree()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no row locks")
def test_a_stake_that_the_former_release_activated_late_is_cancelled_without_the_stake_level(received: Entry) -> None:
    """Cancelling locks the entry. Before the fix, it then locked the stake level, and deadlocked with a match."""
    now = timezone.now()
    sql("UPDATE game_entry SET status = 'queued', opened_at = %s, expires_at = %s", now, now + timedelta(minutes=30))
    StakeLevel.objects.create(amount=1000)
    with held("SELECT 1 FROM game_stakelevel FOR UPDATE"):
        assert cancel(received)
    assert balances() == {Account.PROVIDER: 1000, Account.REFUND_DUE: 1000}
    assert_journals_agree()


def test_a_locked_stake_level_delays_only_its_own_payments(
    client: Client, received: Entry, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the fix, the lock timeout also stopped the adoption and the repeated signals of all other payments."""
    with monkeypatch.context() as broken:
        broken.setattr("game.payment_receivers.activate_paid", lambda payment: 1 / 0)
        paid(client, stake(client, BOB, 2000), BOB)
    now = timezone.now()
    sql("UPDATE game_entry SET status = 'queued', opened_at = %s, expires_at = %s", now, now + timedelta(minutes=30))
    monkeypatch.setitem(locks._fail_until, received.stake_amount, float("inf"))
    assert services.tell_again() == (1, 1)
    Payment.objects.update(stale=True)
    assert journal.adopt() == 1
    assert caplog.text.count("payments.later: 55P03") == 2
    monkeypatch.delitem(locks._fail_until, received.stake_amount)
    assert services.tell_again() == (1, 0)
    assert balances() == {Account.PROVIDER: 3000, Account.WAITING: 3000}
    assert_journals_agree()


def test_both_payments_of_a_match_are_locked_in_order_before_adoption(client: Client, monkeypatch: Any) -> None:
    """Before the fix, adoption locked the higher id first, which could deadlock."""
    now = timezone.now()
    waiting = paid_stake(client, ALICE)
    paid = paid_by_former_release(BOB, now)
    match_by_former_release(waiting, paid, now)
    keys, locked = [], journal.locked

    def note(key: int) -> Payment:
        keys.append(key)
        return locked(key)

    monkeypatch.setattr(journal, "locked", note)
    with journal.writing():
        matches.locked(paid.payment_id)
    assert keys[0] == waiting.payment_id < paid.payment_id
    assert_journals_agree()


@pytest.mark.parametrize("change", ["contested", "both contested", "reversed"])
def test_a_match_that_the_former_release_made_is_booked_although_a_payment_is_reversed(
    client: Client, change: str
) -> None:
    """`reversed`: the match was committed after the query for the payments to lock, so only one payment is locked."""
    now = timezone.now()
    waiting = paid_stake(client, ALICE)
    paid = paid_by_former_release(BOB, now)
    match_by_former_release(waiting, paid, now)
    if change == "contested":
        sql("UPDATE payments_payment SET contested = %s WHERE id = %s", True, paid.payment_id)
    elif change == "both contested":
        sql("UPDATE payments_payment SET contested = %s", True)
    else:
        with journal.writing():
            journal.take(journal.locked(waiting.payment_id), Event(Kind.WORD, said=Word.FAILED))
    services.work_once()
    both = (
        {Account.CONTESTED: 2000} if change == "both contested" else {Account.IN_MATCH: 1000, Account.CONTESTED: 1000}
    )
    assert balances() == {Account.PROVIDER: 1000, Account.OPENING: -1000, **both}
    assert_journals_agree()


def test_a_match_of_two_stale_payments_is_booked_once(client: Client) -> None:
    now = timezone.now()
    waiting = paid_stake(client, ALICE)
    match_by_former_release(waiting, paid_by_former_release(BOB, now), now)
    Payment.objects.update(stale=True)
    with journal.writing():
        matches.locked(waiting.payment_id)
    assert balances() == {Account.PROVIDER: 1000, Account.OPENING: -1000, Account.IN_MATCH: 2000}
    assert_journals_agree()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no row locks")
def test_a_payment_whose_opponent_is_locked_is_adopted_later(client: Client) -> None:
    """Two workers that each waited for the other's payment would deadlock."""
    now = timezone.now()
    waiting = paid_stake(client, ALICE)
    match_by_former_release(waiting, paid_by_former_release(BOB, now), now)
    with held(f"SELECT 1 FROM payments_payment WHERE id = {waiting.payment_id} FOR UPDATE"):
        assert journal.adopt() == 0
    assert journal.adopt() == 1


@pytest.mark.parametrize(
    ("columns", "account"),
    [
        ("refund_due = %s", Account.REFUND_DUE),
        ("contested = %s", Account.CONTESTED),
    ],
)
def test_a_flag_that_the_former_release_set_moves_the_money(client: Client, columns: str, account: Account) -> None:
    entry = paid_stake(client, ALICE)
    sql(f"UPDATE payments_payment SET {columns} WHERE id = %s", True, entry.payment_id)
    services.work_once()
    assert balances() == {Account.PROVIDER: 1000, account: 1000}
    # A disputed stake leaves the queue. The former release has ended the entry of a refund itself.
    assert Entry.objects.get().status == ("expired" if account is Account.CONTESTED else "queued")
    assert_journals_agree()


def test_a_refund_that_the_former_release_paid_is_booked(client: Client) -> None:
    entry, now = paid_stake(client, ALICE), timezone.now()
    sql(
        "INSERT INTO payments_refund (payment_id, amount, how, state, actor, note, reference, provider, provider_id, "
        "reason, resolved_by, ordered_at, ended_at) "
        "VALUES (%s, 1000, 'by_hand', 'succeeded', 'anna', 'cash', 'former', '', '', '', '', %s, %s)",
        entry.payment_id, now, now,
    )  # fmt: skip
    sql("UPDATE payments_payment SET refund_due = %s, refunded_at = %s WHERE id = %s", False, now, entry.payment_id)
    services.work_once()
    payment = fresh(entry.payment)
    assert (payment.place, payment.payout_shares.get().open) == ("refunded", True)
    assert balances() == {Account.PROVIDER: 1000, Account.OPENING: 1000}
    assert_journals_agree()
