"""`reconcile_payments` and the daily totals: only differences are reported."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from django.test import Client
from django.utils import timezone

from game.models import Entry
from payments import journal, ledger, matches, services
from payments.journal import Cause
from payments.ledger import Amount
from payments.models import LedgerEntry, Payment, PaymentEvent
from payments.providers import Answer, Said
from payments.rules.states import Account, Kind, Word
from tests.game_helpers import ALICE, BOB, CAROL, DAVE, stake
from tests.payments.helpers import fresh, later, notice, order_payouts, record_by_hand, settle
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def provider(collection: Sandbox) -> None:
    collection.faults(callback="never", hang_seconds=1.5)


def reconcile(*arguments: str) -> list[str]:
    """Return the output lines. If the command fails, the last line is the error."""
    out = StringIO()
    try:
        call_command("reconcile_payments", *arguments, stdout=out)
    except CommandError as error:
        return [*out.getvalue().splitlines(), str(error)]
    return out.getvalue().splitlines()


def placed(client: Client, phone: str, amount: int = 1000) -> Payment:
    return Payment.objects.get(transaction_id=stake(client, phone, amount)["transaction_id"])


def paid(client: Client, collection: Sandbox, phone: str, amount: int = 1000) -> Payment:
    """Create a stake that was paid on its phone and confirmed by a poll."""
    payment = placed(client, phone, amount)
    collection.tap(payment.transaction_id, "pay")
    later(payment, 5)
    services.work_once()
    assert fresh(payment).status == "SUCCESS"
    return fresh(payment)


def declined(client: Client, collection: Sandbox, phone: str) -> Payment:
    payment = placed(client, phone)
    collection.tap(payment.transaction_id, "decline")
    later(payment, 5)
    services.work_once()
    return fresh(payment)


def test_what_fits_is_not_mentioned(client: Client, collection: Sandbox) -> None:
    for phone in (ALICE, BOB, CAROL):  # Two players are matched, and one waits.
        paid(client, collection, phone)
    declined(client, collection, DAVE)
    assert reconcile() == [f"No difference since {timezone.localdate() - timedelta(days=1)}."]


def theirs(collection: Sandbox, payment: Payment) -> Any:
    return collection.server.state.money.transactions[payment.provider_id]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("Successful", "The payment went through at the provider; here it is: failed."),
        ("Pending", ""),
    ],
)
def test_money_at_the_provider_alone(client: Client, collection: Sandbox, word: str, said: str) -> None:
    payment = declined(client, collection, ALICE)
    theirs(collection, payment).status = word
    lines = reconcile()
    if said:
        assert lines[0].endswith(said)
        assert f"payment {payment.pk} ({payment.transaction_id}, 1000 UGX, " in lines[0]
        assert lines[1].startswith("1 differences since")
        assert payment.phone not in lines[0]


def test_money_here_alone(client: Client, collection: Sandbox) -> None:
    theirs(collection, paid(client, collection, ALICE)).status = "Failed"
    assert reconcile()[0].endswith("The payment failed at the provider; here it is: success.")


def test_what_cannot_be_compared(client: Client, collection: Sandbox) -> None:
    paid(client, collection, ALICE)
    collection.faults(pay_status="500")
    assert "could not be compared: DMarkPay gave no status (500)" in reconcile()[0]
    collection.faults(pay_status="404")
    assert reconcile()[0].endswith("The payment is not known at the provider.")


def test_an_order_in_doubt(client: Client, collection: Sandbox) -> None:
    collection.faults(payin="taken_reset")
    placed(client, ALICE)
    assert "Outcome unknown: the provider may have the request" in reconcile()[0]


def test_our_own_books(client: Client, collection: Sandbox, settings: Any) -> None:
    due, contested, moved = (
        paid(client, collection, phone, 1000 * n) for n, phone in enumerate((ALICE, BOB, CAROL), 1)
    )
    Entry.objects.filter(payment=due).update(expires_at=timezone.now() - timedelta(seconds=1))
    settle(contested.pk, Payment.Status.FAILED, by="callback")
    Entry.objects.filter(payment=moved).update(status="awaiting_payment", opened_at=None)
    lines = reconcile()
    assert "Refunds due: 1. They are open work and do not count as differences." in lines
    assert [line.rpartition("UTC): ")[2] for line in lines[:3]] == [
        "Refund due but not paid yet.",
        "Contested: the provider contradicted its own final status.",
        "Its ledger entries say waiting 3,000 UGX, its place received 3,000 UGX.",
    ]
    # Without a provider, our own data is still compared.
    settings.DMARK_PAY_ACCOUNT_CODE = ""
    assert reconcile() == ["No provider is set up: only our own books are compared.", *lines]


def test_a_match_without_money(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = True
    for phone in (ALICE, BOB):
        placed(client, phone)
    assert [line.rpartition("UTC): ")[2] for line in reconcile()[:2]] == ["In a match, without money."] * 2


def test_a_payout_is_compared_too(client: Client, collection: Sandbox) -> None:
    payment = paid(client, collection, ALICE)
    Entry.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    order_payouts(Payment.objects.all(), "an operator")
    refund = payment.refunds.get()
    assert (refund.state, len(reconcile())) == ("succeeded", 1)
    collection.server.state.money.transactions[refund.provider_id].status = "Failed"
    assert reconcile()[0].endswith("The payout failed at the provider; here it is: succeeded.")


def test_the_span(client: Client, collection: Sandbox, capsys: Any) -> None:
    collection.faults(payin="taken_reset")
    later(placed(client, ALICE), 3 * 86400)
    PaymentEvent.objects.update(at=F("at") - timedelta(days=3))
    assert reconcile()[0].startswith("No difference")
    since = timezone.localdate() - timedelta(days=4)
    assert reconcile("--since", str(since))[-1] == f"1 differences since {since}."
    with pytest.raises(CommandError, match="is not a date"):
        call_command("reconcile_payments", "--since", "yesterday")
    with pytest.raises(CommandError, match="is not a date"):
        call_command("reconcile_payments", "--since", "2026-02-30")


def test_the_figures_of_the_day_add_up(client: Client, collection: Sandbox) -> None:
    for phone in (ALICE, BOB, CAROL):
        paid(client, collection, phone)
    due, back, gone = (paid(client, collection, f"077200001{n}", n * 1000) for n in (2, 3, 4))
    declined(client, collection, "0772000019")
    placed(client, "0772000020", 7000)
    ended = Entry.objects.filter(payment__in=(due, back))
    ended.update(expires_at=timezone.now() - timedelta(seconds=1))
    record_by_hand(Payment.objects.filter(pk=back.pk), "an operator", "cash")
    call_command("expire_queue", stdout=StringIO())
    settle(gone.pk, Payment.Status.FAILED, by="callback")
    figures = ledger.day(timezone.localdate())
    assert figures["in"] == Amount(12_000, 6)
    assert figures["out"] == figures["refunds"] == Amount(3000, 1)
    held = {account: amount for account, amount in ledger.balances().items() if amount}
    assert held == {
        Account.PROVIDER: 9000,
        Account.IN_MATCH: 2000,
        Account.WAITING: 1000,
        Account.REFUND_DUE: 2000,
        Account.CONTESTED: 4000,
    }
    assert ledger.day(timezone.localdate() - timedelta(days=2))["in"] == Amount(0, 0)


def test_an_entry_that_no_event_explains_is_named(client: Client, collection: Sandbox) -> None:
    payment = paid(client, collection, ALICE)
    entry = LedgerEntry.objects.filter(payment=payment).latest("pk")
    entry.pk, entry.debit, entry.credit = None, "waiting", "lost"
    entry.save()
    said = "Its ledger entries say nothing, its place waiting 1,000 UGX."
    assert reconcile()[0].endswith(said)


def test_rebuild_replays_the_journal_and_names_a_row_that_was_changed(client: Client, collection: Sandbox) -> None:
    payment = placed(client, ALICE)
    collection.tap(payment.transaction_id, "pay")
    later(payment, 5)
    services.work_once()
    assert Payment.objects.get().status == "SUCCESS"
    assert reconcile("--rebuild")[-1].startswith("No difference since ")
    # `version` is raised like in new code, so that only a replay of the journal notices the change.
    Payment.objects.update(place="refund_due", version=F("version") + 1)
    lines = reconcile("--rebuild")
    assert lines[0].startswith(f"payment {payment.pk} ")
    assert "Rebuilt: " in lines[0]
    assert lines[-1].startswith("1 differences since ")


def test_rebuild_does_not_apply_an_answer_that_came_late(client: Client, collection: Sandbox) -> None:
    """The journal has no entry for the second answer, because it only changed `word_at`."""
    payment = placed(client, ALICE)
    start = timezone.now() - timedelta(seconds=3)
    for word, second in ((Word.SUCCESSFUL, 1), (Word.SUCCESSFUL, 3), (Word.FAILED, 2)):
        with journal.writing():
            found = matches.locked(payment.pk).payment
            cause = Cause("asking", answer=Answer(Said.PENDING, text=word.value))
            matches.take_word(found, word, began=start + timedelta(seconds=second), polled=True, cause=cause)
    events = list(payment.events.order_by("pk").values_list("kind", "said"))[-3:]
    assert events == [("word", "successful"), ("activated", ""), ("polled", "failed")]
    assert fresh(payment).place == "in_use"
    assert reconcile("--rebuild")[-1].startswith("No difference since ")


def test_a_payment_that_only_an_operator_called_paid_is_listed_with_their_name(
    client: Client, collection: Sandbox
) -> None:
    collection.faults(payin="taken_reset")
    payment = placed(client, ALICE)
    matches.judge(payment.pk, Kind.SETTLED_PAID, actor="anna", note="in the portal")
    assert reconcile()[0].endswith("Settled by anna; the provider has not confirmed it.")
    # Later the provider confirms the payment under the id of a notification.
    collection.tap(payment.transaction_id, "pay")
    known_by = collection.server.state.money.named(payment.transaction_id, "payin")[0].transaction_id
    notice(client, payment, transaction_id=known_by)
    assert not [line for line in reconcile() if "anna" in line]


def test_an_event_brings_an_old_payment_into_the_span(client: Client, collection: Sandbox) -> None:
    payment = paid(client, collection, ALICE)
    later(payment, 5 * 86400)
    PaymentEvent.objects.update(at=F("at") - timedelta(days=5))
    theirs(collection, payment).status = "Failed"
    assert reconcile()[0].startswith("No difference")
    Entry.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    record_by_hand(Payment.objects.all(), "anna", "cash")
    assert reconcile()[0].endswith("The payment failed at the provider; here it is: success.")


def test_a_refund_that_is_merely_due_is_no_difference(client: Client, collection: Sandbox) -> None:
    paid(client, collection, ALICE)
    Entry.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    lines = reconcile()
    assert lines[0].endswith("Refund due but not paid yet.")
    assert lines[1:] == [
        "Refunds due: 1. They are open work and do not count as differences.",
        f"No difference since {timezone.localdate() - timedelta(days=1)}.",
    ]
