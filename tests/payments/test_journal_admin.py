"""The admin lists of the journal and the ledger: read-only, with filters by payment, kind, account and day."""

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from payments import ledger, refunds
from payments.admin import wording
from payments.ledger import Amount
from payments.matches import judge
from payments.models import Payment, PaymentEvent, ProviderDebit
from payments.rules.states import Account, Kind
from tests.payments.helpers import by_others, fresh, pay, settle
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)
EVENTS, LEDGER, DEBITS = (f"/admin/payments/{name}/" for name in ("paymentevent", "ledgerentry", "providerdebit"))


def staff(*permissions: str) -> Client:
    user = User.objects.create_user(f"user{User.objects.count()}", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def rows(client: Client, path: str, **query: Any) -> list[Any]:
    answer = client.get(path, query)
    assert answer.status_code == 200
    return list(answer.context["cl"].result_list)


@pytest.fixture
def disputed() -> Payment:
    payment = by_others("+256772000001", 1000)
    settle(payment.pk, Payment.Status.SUCCESS, by="callback")
    settle(payment.pk, Payment.Status.FAILED, by="callback")
    return fresh(payment)


@pytest.fixture
def refunded() -> Payment:
    payment = by_others("+256772000002", 2000)
    settle(payment.pk, Payment.Status.FAILED, by="callback")
    settle(payment.pk, Payment.Status.SUCCESS, by="callback")
    refunds.refund_by_hand(payment.pk, "anna", "cash")
    return fresh(payment)


def test_each_kind_and_account_has_words() -> None:
    assert set(wording.EVENTS) == set(Kind)
    assert set(wording.ACCOUNTS) == set(Account)


@pytest.mark.parametrize("path", [EVENTS, LEDGER])
def test_nobody_adds_changes_or_deletes(admin_client: Client, disputed: Payment, path: str) -> None:
    row = rows(admin_client, path)[0]
    for address in (f"{path}add/", f"{path}{row.pk}/delete/"):
        assert admin_client.get(address).status_code == 403
        assert admin_client.post(address, {"post": "yes"}).status_code == 403
    page = admin_client.get(f"{path}{row.pk}/change/").content.decode()
    assert 'name="_save"' not in page
    assert admin_client.post(f"{path}{row.pk}/change/", {"amount": 1}).status_code == 403
    assert 'value="delete_selected"' not in admin_client.get(path).content.decode()
    assert staff("view_payment").get(path).status_code == 403


def test_events_in_words_with_their_money(admin_client: Client, disputed: Payment, refunded: Payment) -> None:
    page = admin_client.get(EVENTS).content.decode()
    assert "Recorded as paid out by hand" in page
    assert "2,000 UGX: refund due → at the provider" in page
    assert "by_hand" not in page.replace("kind=by_hand", "")
    assert [event.kind for event in rows(admin_client, EVENTS, kind="by_hand")] == ["by_hand"]
    newest = [event.pk for event in rows(admin_client, EVENTS)]
    assert newest == sorted(newest, reverse=True)


def test_the_page_of_a_payment_tells_its_events_in_order(admin_client: Client, refunded: Payment) -> None:
    page = admin_client.get(f"/admin/payments/payment/{refunded.pk}/change/").content.decode()
    story = [
        "Stake placed, payment requested",
        "Payment status reported",
        "2,000 UGX: at the provider → refund due",
        "Recorded as paid out by hand",
        "2,000 UGX: refund due → at the provider",
    ]
    places = [page.index(line) for line in story]
    assert places == sorted(places)


def test_ledger_entries_by_account_day_and_figure(admin_client: Client, disputed: Payment, refunded: Payment) -> None:
    assert len(rows(admin_client, LEDGER)) == 4
    assert {entry.payment_id for entry in rows(admin_client, LEDGER, account="contested")} == {disputed.pk}
    today = timezone.localdate()
    assert len(rows(admin_client, LEDGER, day=today, flow="in")) == 2
    assert [entry.amount for entry in rows(admin_client, LEDGER, flow="refunds")] == [2000]
    page = re.sub(r"<[^>]+>", "", admin_client.get(LEDGER, {"day": str(today)}).content.decode())
    assert "paid in at the provider3,000 UGX in 2 entries" in page
    assert "refunded2,000 UGX in 1 entry" in page
    assert "paid in at the provider" not in admin_client.get(LEDGER).content.decode().partition('id="changelist"')[0]
    assert rows(admin_client, LEDGER, day=today - timedelta(days=1)) == []
    assert rows(admin_client, EVENTS, day=today - timedelta(days=1)) == []
    assert len(rows(admin_client, EVENTS, day=today)) == PaymentEvent.objects.count()


@pytest.mark.parametrize("path", [EVENTS, LEDGER])
def test_any_value_of_a_payment_finds_its_rows(
    admin_client: Client, disputed: Payment, refunded: Payment, path: str
) -> None:
    Payment.objects.filter(pk=refunded.pk).update(provider_id="dmp-77")
    reference = refunded.refunds.get().reference
    for term in (refunded.transaction_id, "dmp-77", str(refunded.pk), "0772 000 002", reference):
        assert {row.payment_id for row in rows(admin_client, path, q=term)} == {refunded.pk}, term
    assert rows(admin_client, path, q="nothing") == []


@pytest.mark.parametrize("path", [EVENTS, LEDGER])
@pytest.mark.parametrize("name", ["q", "kind", "day", "account", "flow", "p", "o"])
def test_odd_queries_are_no_server_error(admin_client: Client, disputed: Payment, path: str, name: str) -> None:
    for value in ("\0", "x", "9" * 30, "9999-12-31", "0001-01-01"):
        assert admin_client.get(path, {name: value}).status_code < 500


def test_a_csv_of_the_filtered_rows(admin_client: Client, disputed: Payment, refunded: Payment) -> None:
    for path, query in ((EVENTS, {"kind": "by_hand"}), (LEDGER, {"flow": "refunds"})):
        answer: Any = admin_client.get(f"{path}export/", query)
        lines = b"".join(answer.streaming_content).decode("utf-8-sig").splitlines()
        assert len(lines) == 2
        assert refunded.transaction_id in lines[1]
        assert "77200000" not in lines[1]


def test_numbers_in_an_answer_are_masked(collection: Sandbox) -> None:
    collection.faults(callback="never")
    payment = pay("+256772000001")
    event = PaymentEvent.objects.filter(payment=payment).exclude(answer="").latest("pk")
    shown = "256772000001"
    masked = staff("view_payment", "view_paymentevent")
    full = staff("view_payment", "view_paymentevent", "view_full_phone")
    PaymentEvent.objects.filter(pk=event.pk).update(answer=f'{{"phone": "{shown}", "id": "{payment.transaction_id}"}}')
    for path in (f"{EVENTS}{event.pk}/change/", f"/admin/payments/payment/{payment.pk}/change/"):
        page = masked.get(path).content.decode()
        assert shown not in page
        assert payment.transaction_id in page  # A term of 18 digits is not read as a phone number.
        assert shown in full.get(path).content.decode()


def test_an_event_keeps_the_name_of_an_operator_who_is_gone(admin_client: Client, settings: Any) -> None:
    settings.DMARK_PAY_ACCOUNT_CODE = ""
    payment = by_others()
    user = User.objects.create_user("miriam")
    judge(payment.pk, Kind.SETTLED_PAID, actor=user.get_username(), note="seen in the portal")
    user.is_active = False
    user.save()
    assert "miriam" in admin_client.get(EVENTS, {"kind": "settled_paid"}).content.decode()
    user.delete()
    page = admin_client.get(f"/admin/payments/payment/{payment.pk}/change/").content.decode()
    assert "miriam" in page
    assert "seen in the portal" in page


@pytest.mark.parametrize("path", [EVENTS, LEDGER, f"{LEDGER}?account=lost", f"{EVENTS}?kind=by_hand"])
def test_a_count_ends_at_the_longest_list(admin_client: Client, disputed: Payment, path: str) -> None:
    """The count stops at the longest list, because counting a million rows takes too long."""
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(path)
    counts = [query["sql"] for query in queries if "COUNT(" in query["sql"] and '"payments_' in query["sql"]]
    assert counts
    assert all("LIMIT" in sql for sql in counts)


def test_an_operator_enters_withdrawals_and_fees() -> None:
    settle(by_others(amount=5000).pk, Payment.Status.SUCCESS, by="callback")
    operator = staff("view_ledgerentry", "refund_payment")
    assert "Enter a withdrawal or fee" in operator.get(DEBITS).content.decode()
    for account, amount in (("withdrawals", 3000), ("fees", 120), ("fees", -20)):
        form = {"account": account, "amount": amount, "note": "statement of 28 Nov", "key": str(uuid.uuid4())}
        assert operator.post(f"{DEBITS}add/", form).status_code == 302
    assert operator.post(f"{DEBITS}add/", form | {"amount": 0}).status_code == 200
    assert operator.post(f"{DEBITS}add/", form | {"note": ""}).status_code == 200
    balances = ledger.balances()
    found = [balances[account] for account in (Account.PROVIDER, Account.WITHDRAWALS, Account.FEES)]
    assert found == [1900, 3000, 100]
    day = ledger.day(timezone.localdate())
    assert (day["out"], day["fees"], day["withdrawals"]) == (Amount(3100, 3), Amount(100, 2), Amount(3000, 1))
    debit = ProviderDebit.objects.latest("pk")
    assert (debit.actor, debit.note) == ("user0", "statement of 28 Nov")
    assert operator.post(f"{DEBITS}{debit.pk}/change/", {"amount": 9}).status_code == 403
    assert operator.post(f"{DEBITS}{debit.pk}/delete/", {"post": "yes"}).status_code == 403
    assert operator.get(f"{DEBITS}export/").status_code == 200


def test_a_withdrawal_whose_form_is_sent_twice_is_booked_once() -> None:
    operator = staff("view_ledgerentry", "refund_payment")
    keys = [
        re.findall(r'name="key" value="([0-9a-f-]{36})"', operator.get(f"{DEBITS}add/").content.decode())[0]
        for _ in "ab"
    ]
    assert keys[0] != keys[1]
    form = {"account": "withdrawals", "amount": 3000, "note": "to the bank", "key": keys[0]}
    first, again = (operator.post(f"{DEBITS}add/", form, follow=True) for _ in "ab")
    assert "was added successfully" in first.content.decode()
    assert "This form was saved before. Nothing was booked again." in again.content.decode()
    assert ProviderDebit.objects.count() == LogEntry.objects.count() == 1
    operator.post(f"{DEBITS}add/", form | {"key": keys[1]})  # Another form with the same amount is a second withdrawal.
    assert ledger.balances()[Account.WITHDRAWALS] == 6000


def test_who_may_only_look_enters_no_withdrawal() -> None:
    clerk = staff("view_ledgerentry")
    assert "Enter a withdrawal or fee" not in clerk.get(DEBITS).content.decode()
    assert clerk.post(f"{DEBITS}add/", {"account": "fees", "amount": 5, "note": "x"}).status_code == 403
    assert staff("view_payment").get(DEBITS).status_code == 403
