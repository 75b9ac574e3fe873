"""The database keeps journal and ledger append-only, and marks payments that were changed without the journal."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import Model
from django.utils import timezone

from payments import journal, ledger, reconciliation
from payments.migrations import _append_only
from payments.models import LedgerEntry, Payment, PaymentEvent, ProviderDebit
from payments.rules.states import Account, Place
from tests.payments.helpers import by_others, fresh, settle

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def triggers() -> Iterator[None]:
    _append_only.install(connection)
    yield
    _append_only.remove(connection)


@pytest.mark.parametrize("model", [PaymentEvent, LedgerEntry, ProviderDebit])
def test_nothing_in_the_books_can_be_changed_or_deleted(model: type[Model]) -> None:
    ProviderDebit.objects.create(account="fees", amount=5, actor="anna", note="statement")
    settle(by_others().pk, Payment.Status.SUCCESS, by="callback")
    table = model._meta.db_table
    assert model._default_manager.exists()
    for sql in (f"UPDATE {table} SET at = at", f"DELETE FROM {table}"):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql)
    if connection.vendor == "postgresql":
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {table} CASCADE")


def test_events_of_an_old_payment_without_money_can_be_pruned() -> None:
    payment = by_others()
    rows = PaymentEvent.objects.filter(payment=payment)
    with pytest.raises(DatabaseError), transaction.atomic():
        rows.delete()
    Payment.objects.update(created_at=timezone.now() - timedelta(days=31))
    assert rows.delete()[0] == 1


def test_a_write_past_the_journal_is_noticed_and_adopted_once() -> None:
    """The previous release writes like this during a deploy, and so does a manual UPDATE."""
    payment = by_others()
    settle(payment.pk, Payment.Status.SUCCESS, by="callback")
    assert not fresh(payment).stale
    Payment.objects.filter(pk=payment.pk).update(refund_due=True)
    assert (fresh(payment).stale, journal.left_to_adopt()) == (True, 1)
    assert journal.adopt() == 1
    assert journal.adopt() == 0
    payment = fresh(payment)
    assert (payment.place, payment.stale) == ("refund_due", False)
    assert reconciliation.differs(payment) == ""
    assert journal.balances_of(payment) == {Account.REFUND_DUE: 1000}
    assert Payment.objects.filter(pk=payment.pk).update(next_ask_at=timezone.now()) == 1
    assert not fresh(payment).stale  # This column is a schedule, not part of the state.


def test_a_row_of_the_former_release_is_adopted() -> None:
    now = timezone.now()
    paid = Payment.objects.create(phone="+256772000001", amount=1000, status="SUCCESS", collected_at=now)
    owed = Payment.objects.create(
        phone="+256772000002", amount=700, status="FAILED", collected_at=now, refund_due=True, contested=True
    )
    approved = Payment.objects.create(phone="+256772000003", amount=500, status="SUCCESS")
    gone = Payment.objects.create(
        phone="+256772000004", amount=300, status="SUCCESS", collected_at=now, refunded_at=now, contested=True
    )
    assert journal.adopt() == 4
    rows = [paid, owed, approved, gone]
    assert [fresh(one).place for one in rows] == ["in_use", "refund_due", "", "refunded"]
    assert [reconciliation.differs(fresh(one)) for one in rows] == [""] * 4
    assert ledger.balances()[Account.OPENING] == -1700
    assert [ledger.balances()[account] for account in (Account.RECEIVED, Account.REFUND_DUE)] == [1000, 700]
    assert fresh(owed).contested
    assert Place(fresh(owed).place) is Place.REFUND_DUE
