"""`close_matches` and its admin action: old matches are booked once as paid from another account, without a message."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from game.models import Session
from game.rules.results import record_result
from payments import ledger, reconciliation
from payments.ledger import Amount
from payments.models import MatchResult, Payment, PaymentEvent
from payments.rules.states import Account
from sms.models import SmsMessage
from tests.game_helpers import ALICE, BOB, CAROL, DAVE, paid_stake
from tests.payments.helpers import settle

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _settings(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE, settings.COMMISSION_FLAT = False, 100


@pytest.fixture
def matches(client: Client) -> list[Session]:
    """Two expired matches of 1,000 UGX and 2,000 UGX, ten days old."""
    for first, second, amount in ((ALICE, BOB, 1000), (CAROL, DAVE, 2000)):
        paid_stake(client, first, amount)
        paid_stake(client, second, amount)
    old = timezone.now() - timedelta(days=10)
    Session.objects.update(created_at=old, expires_at=old + timedelta(minutes=10))
    SmsMessage.objects.all().delete()
    return list(Session.objects.order_by("pk"))


def close(*arguments: str, days: int = 5) -> list[str]:
    out = StringIO()
    before = str(timezone.localdate() - timedelta(days=days))
    call_command("close_matches", "--before", before, "--note", "paid from the till", *arguments, stdout=out)
    return out.getvalue().splitlines()


def test_it_counts_first_and_books_once(matches: list[Session]) -> None:
    before = timezone.localdate() - timedelta(days=5)
    (said,) = close()
    assert said.startswith(f"2 matches without a result from before {before}; their players paid 6,400 UGX. ")
    assert said.endswith("Nothing is booked: add --yes to book them.")
    assert not MatchResult.objects.exists()
    assert close("--yes") == ["2 matches are booked as paid elsewhere: 6,000 UGX."]
    assert close("--yes") == ["0 matches are booked as paid elsewhere: 0 UGX."]
    balances = {account: ugx for account, ugx in ledger.balances().items() if ugx}
    assert balances == {Account.PROVIDER: 6400, Account.ELSEWHERE: -6000, Account.COMMISSION: 400}
    assert [reconciliation.differs(payment) for payment in Payment.objects.all()] == [""] * 4
    assert ledger.day(timezone.localdate())["prizes"] == Amount(6000, 4)
    assert ledger.day(timezone.localdate())["out"] == Amount(0, 0)
    for result in MatchResult.objects.all():
        assert (result.outcome, result.prize, result.note) == ("win", "paid", "paid from the till")
        assert result.winner is None
    event = PaymentEvent.objects.filter(kind="by_hand").latest("pk")
    assert (event.actor, event.note) == ("close_matches", "paid from the till")
    assert not SmsMessage.objects.exists()


def test_what_is_not_old_or_not_open_stays(matches: list[Session]) -> None:
    first, second = matches
    record_result(first, "draw", None, by="anna")
    assert close("--yes", days=15) == ["0 matches are booked as paid elsewhere: 0 UGX."]
    gone = second.entries.order_by("pk")[0].payment
    settle(gone.pk, Payment.Status.FAILED, by="callback")
    assert close("--yes") == [
        f"match {second.pk} is left as it is: A payment of this match is disputed, or its money is not in the match.",
        "0 matches are booked as paid elsewhere: 0 UGX.",
        "1 matches are left as they are.",
    ]
    assert ledger.balances()[Account.CONTESTED] == 2100


def test_matches_of_a_release_without_a_journal(matches: list[Session]) -> None:
    """Their payments are adopted into the journal at the same time."""
    now = timezone.now()
    for entry in matches[0].entries.all():
        old = Payment.objects.create(
            phone=entry.phone, amount=1100, status="SUCCESS", collected_at=now, provider="dmarkpay"
        )
        entry.payment = old
        entry.save()
    assert close("--yes")[0] == "2 matches are booked as paid elsewhere: 6,200 UGX."
    assert ledger.balances()[Account.OPENING] == -2200


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--before", "soon", "--note", "x"), "'soon' is not a date; write it like 2026-01-31."),
        (("--before", "2026-02-30", "--note", "x"), "'2026-02-30' is not a date"),
        (("--before", "2999-01-01", "--note", "x"), "--before 2999-01-01 lies in the future."),
        (("--before", "2026-01-01", "--note", " "), "--note needs 1 to 300 characters."),
        (("--before", "2026-01-01"), "required: --note"),
    ],
)
def test_bad_input_gets_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(CommandError) as error:
        call_command("close_matches", *arguments)
    assert sentence in str(error.value)


def test_an_operator_closes_one_in_the_admin(admin_client: Client, matches: list[Session]) -> None:
    body = {"action": "close_elsewhere", "_selected_action": [str(matches[0].pk)]}
    page = admin_client.post("/admin/game/session/", body, follow=True).content.decode()
    assert "2,200 UGX" in page
    assert "Nobody receives a text." in page
    confirmed = {**body, "post": "yes", "note": "cash, receipt 4"}
    page = admin_client.post("/admin/game/session/", confirmed, follow=True).content.decode()
    assert "Closed as paid elsewhere: 1." in page
    result = MatchResult.objects.get()
    assert (result.key, result.prize, result.recorded_by) == (f"session:{matches[0].pk}", "paid", "admin")
    page = admin_client.post("/admin/game/session/", confirmed, follow=True).content.decode()
    assert "Nothing was done." in page
