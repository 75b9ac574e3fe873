"""Figures of the ledger: totals of past hours and days, and balances that add up to zero."""

import threading
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.test import Client
from django.utils.timezone import localdate

from payments import database, ledger
from payments.ledger import Amount
from payments.models import AccountHour, LedgerEntry, Payment, PaymentEvent, ProviderDebit
from payments.rules.states import Account
from tests.conftest import wait_for
from tests.game_helpers import ALICE, BOB, paid_stake
from tests.payments.helpers import PHONE, by_others, fresh, record_by_hand, settle

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = timedelta(hours=1)
# Kampala is three hours ahead of UTC, so this is 00:30 on 2 November there.
NIGHT = datetime(2026, 11, 1, 21, 30, tzinfo=timezone.utc)
DAY = date(2026, 11, 2)


@pytest.fixture
def at(monkeypatch: Any) -> Iterator[Any]:
    """Set the time of the payments module."""

    def set_time(moment: datetime) -> None:
        monkeypatch.setattr(database, "now", lambda: moment)

    return set_time  # type: ignore[return-value]


def paid(phone: str = PHONE, amount: int = 1000) -> Payment:
    payment = by_others(phone, amount)
    settle(payment.pk, Payment.Status.SUCCESS, by="callback")
    return fresh(payment)


def post(payment: Payment, moment: datetime, amount: int = 100) -> None:
    """Add a posting as a slow transaction does: its hour is that of the transaction's start."""
    event = PaymentEvent.objects.filter(payment=payment).latest("pk")
    hour = moment.replace(minute=0, second=0, microsecond=0)
    LedgerEntry.objects.create(
        at=moment, hour=hour, payment=payment, event=event, debit="provider", credit="received", amount=amount
    )


def test_a_day_is_that_of_kampala_and_goes_by_when_it_was_booked(at: Any) -> None:
    at(NIGHT - HOUR)  # This is still the day before.
    late = paid(PHONE, 1000)
    at(NIGHT)
    paid("+256772000002", 2000)
    settle(late.pk, Payment.Status.FAILED, by="callback")
    for moment, amount in ((NIGHT - HOUR, 5), (NIGHT, 7)):
        ProviderDebit.objects.create(at=moment, account="fees", amount=amount, actor="anna", note="statement")
    yesterday, today = ledger.day(DAY - timedelta(days=1)), ledger.day(DAY)
    assert (yesterday["in"], today["in"]) == (Amount(1000, 1), Amount(2000, 1))
    assert (yesterday["fees"], today["fees"]) == (Amount(5, 1), Amount(7, 1))
    before = dict(yesterday)
    at(NIGHT + 30 * HOUR)
    assert ledger.write_hours() > 0
    at(NIGHT + 31 * HOUR)
    paid("+256772000003", 4000)
    assert ledger.day(DAY - timedelta(days=1)) == before
    assert ledger.day(DAY) == today
    assert ledger.day(DAY + timedelta(days=1))["in"] == Amount(4000, 1)


def test_the_figures_of_a_day(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE, settings.COMMISSION_FLAT = False, 100
    first, second = paid_stake(client, ALICE, 1000), paid_stake(client, BOB, 1000)
    late = by_others("+256772000009", 700)
    settle(late.pk, Payment.Status.FAILED, by="callback")
    settle(late.pk, Payment.Status.SUCCESS, by="callback")
    record_by_hand(Payment.objects.filter(pk=late.pk), "anna", "cash")
    gone = paid("+256772000010", 300)
    settle(gone.pk, Payment.Status.FAILED, by="callback")
    figures = ledger.day(localdate())
    assert figures["in"] == Amount(2200 + 700 + 300, 4)
    assert figures["refunds"] == figures["out"] == Amount(700, 1)
    balances = ledger.balances()
    assert balances[Account.IN_MATCH] == first.payment.amount + second.payment.amount == 2200
    assert balances[Account.CONTESTED] == 300
    assert balances[Account.PROVIDER] == 2500


def test_the_sum_over_all_accounts_is_zero_with_and_without_totals(at: Any) -> None:
    at(NIGHT)
    gone = paid()
    settle(gone.pk, Payment.Status.FAILED, by="callback")
    Payment.objects.create(phone="+256772000004", amount=900, status="SUCCESS", collected_at=NIGHT)
    from payments import journal

    journal.adopt()
    before = ledger.balances()
    at(NIGHT + 2 * HOUR)
    assert ledger.write_hours() > 0
    assert ledger.write_hours() == 0
    assert ledger.balances() == before
    assets = (Account.PROVIDER, Account.ELSEWHERE, Account.LOST)
    assert sum(amount if account in assets else -amount for account, amount in before.items()) == 0
    assert before[Account.OPENING] == -900


def test_an_hour_that_is_over_waits_for_the_transactions_from_before_its_end(at: Any) -> None:
    """On PostgreSQL a slow transaction can commit after the end of its hour. SQLite allows only one writer."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time.")
    payment, now = paid(), database.now()
    posted, may_commit = threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            post(payment, now)
            posted.set()
            may_commit.wait(10)
        connection.close()

    writer = threading.Thread(target=slow)
    writer.start()
    assert posted.wait(10)
    at(now + 3 * HOUR)
    assert ledger.write_hours() == 0
    may_commit.set()
    writer.join(10)
    assert ledger.write_hours() > 0
    assert AccountHour.objects.get(debit="provider").amount == 1100
    assert ledger.balances()[Account.PROVIDER] == 1100


def test_an_hour_written_between_two_queries_counts_once(monkeypatch: Any, at: Any) -> None:
    payment, now = paid(), database.now()
    at(now + 3 * HOUR)
    assert ledger.write_hours() > 0
    post(payment, now + HOUR)
    real = ledger.Moves

    def meanwhile() -> ledger.Moves:
        """The worker writes another hour after the last hour was read."""
        monkeypatch.setattr(ledger, "Moves", real)
        assert ledger.write_hours() > 0
        return real()

    monkeypatch.setattr(ledger, "Moves", meanwhile)
    assert ledger.balances()[Account.PROVIDER] == 1100


def test_entries_count_although_the_clock_was_set_back_into_a_totaled_hour(at: Any) -> None:
    now = database.now()
    at(now)
    paid()
    at(now + 4 * HOUR)
    paid("+256772000002", 2000)
    at(now + 6 * HOUR)
    while ledger.write_hours():
        pass
    at(now + 2 * HOUR)  # This hour had no entries, so it has no totals.
    paid("+256772000003", 4000)
    at(now)
    paid("+256772000004", 8000)
    assert ledger.balances()[Account.PROVIDER] == 15000
    assert not list(ledger.wrong_hours(now))
    at(now + 30 * HOUR)
    while ledger.write_hours():
        pass
    assert ledger.balances()[Account.PROVIDER] == 15000


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer at a time")
@pytest.mark.parametrize("first", ["entry", "totals"])
def test_an_hour_and_an_entry_whose_time_was_read_before_the_clock_was_set_forward_wait_for_each_other(
    monkeypatch: Any, first: str
) -> None:
    """A process reads the database's time every five seconds only."""
    payment, now = paid(), database.now()
    post(payment, now - 3 * HOUR)
    may_end, written, totaled = threading.Event(), threading.Event(), threading.Event()
    by_hour = ledger._by_hour

    def totals(rows: Any) -> list[AccountHour]:
        found = list(by_hour(rows))
        totaled.set()
        may_end.wait(10)
        return found

    def total() -> None:
        assert ledger.write_hours() > 0
        connection.close()

    def write() -> None:
        with transaction.atomic():
            post(payment, now - 3 * HOUR)
            written.set()
            may_end.wait(10)
        connection.close()

    threads = [threading.Thread(target=call) for call in ((write, total) if first == "entry" else (total, write))]
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "_by_hour", totals)
        patched.setattr(ledger, "_oldest_transaction", lambda: now)
        threads[0].start()
        assert (written if first == "entry" else totaled).wait(10)
        threads[1].start()
        wait_for(_waits_for_a_lock)
        may_end.set()
        for thread in threads:
            thread.join(10)
    assert AccountHour.objects.get(hour__lt=now - HOUR).amount == 200
    assert not list(ledger.wrong_hours(now - 4 * HOUR))


def _waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_one_run_writes_twelve_hours_at_most(at: Any) -> None:
    """A worker that starts after days without one catches up in short runs, also over days without entries."""
    payment, now = paid(), database.now()
    for hours in (12, 24, 220):
        post(payment, now + hours * HOUR)
    at(now + 10 * 24 * HOUR)
    while written := ledger.write_hours():
        assert written == 1
    assert AccountHour.objects.count() == 4
    assert ledger.balances()[Account.PROVIDER] == 1300


def test_a_total_that_differs_from_its_entries_is_named(at: Any) -> None:
    paid()
    now = database.now()
    at(now + 3 * HOUR)
    ledger.write_hours()
    assert list(ledger.wrong_hours(now - HOUR)) == []
    AccountHour.objects.update(amount=F("amount") + 1)
    assert len(list(ledger.wrong_hours(now - HOUR))) == 1


def test_few_queries(django_assert_max_num_queries: Any) -> None:
    paid()
    with django_assert_max_num_queries(4):
        ledger.day(localdate())
