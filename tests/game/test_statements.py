"""The SQL statements of the most frequent requests, on PostgreSQL or SQLite, each with its reason.

A new statement needs a line here, with the reason why no other statement returns the data already.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from sms.models import SmsMessage
from tests.game_helpers import ALICE, BOB, CAROL, paid, paid_stake, post, stake

pytestmark = pytest.mark.django_db(transaction=True)

# Parts of SQL that identify each statement, with the reason for it.
REASONS = {
    r"UNION ALL": "limit by address: unpaid and refused stakes",
    r'INTO "game_player"|FROM "game_player".*"phone" = ': "player, locked: stakes of one phone wait for each other",
    r'FROM "game_entry".*"status" IN .*"opened_at" IS NULL': "player's entries: active, unpaid, recent",
    r'FROM "game_entry".*"stake_amount" = ': "opponent, locked",
    r'FROM "game_entry".*"match_code" = ': "private match of the code",
    r'FROM "game_entry".*"payment_id" = ': "entry of the payment, and an active one of its player",
    r'INTO "payments_payment"': "payment",
    r'INTO "game_entry"': "entry",
    r'COUNT\(U0."id"\)': "limits on invites, all counts",
    r'FROM "game_wrongcode"': "limit on wrong codes",
    r'INTO "payments_callback"': "callback as received, before it is read",
    r'UPDATE "payments_callback"': "callback: payment, answer",
    r'FROM "payments_payment".*"transaction_id" = ': "payment of the callback, locked",
    r'UPDATE "payments_payment"': "payment settled",
    r'FROM "game_stakelevel"|INTO "game_stakelevel"': "stake level, locked",
    r'UPDATE "game_entry"': "entry activated, or both matched",
    r'INTO "game_session"': "match",
    r'INTO "sms_smsmessage"': "messages, one INSERT",
    r"NOTIFY": "wake the SMS workers",
    r'INTO "payments_paymentevent"': "journal",
    r'INTO "payments_ledgerentry"': "ledger",
}
_CONTROL = re.compile(r"^(BEGIN|COMMIT|SAVEPOINT|RELEASE|ROLLBACK|SET )")


def statements(call: Callable[[], Any]) -> list[str]:
    """Return the reasons of the statements that the call runs, without transaction control."""
    with CaptureQueriesContext(connection) as captured:
        call()
    found = []
    for query in captured.captured_queries:
        sql = query["sql"]
        if not _CONTROL.match(sql):
            reasons = (reason for pattern, reason in REASONS.items() if re.search(pattern, sql, re.DOTALL))
            found.append(next(reasons, f"NO REASON: {sql}"))
    assert [reason for reason in found if reason.startswith("NO REASON")] == []
    return found


@pytest.fixture(autouse=True)
def _production(settings: Any, client: Client) -> None:
    settings.MOMO_AUTO_APPROVE, settings.SMS_DELIVERY = False, "worker"
    # After these requests, the clocks and the stake level are known.
    for phone in ("0772009001", "0772009002"):
        paid(client, stake(client, phone), phone)


@pytest.mark.parametrize(
    "more",
    [{}, {"create_private": True}, {"create_private": True, "invite_phone": CAROL}],
    ids=["public", "private", "private with an invite"],
)
def test_a_stake_takes_at_most_eight_statements(client: Client, more: dict[str, Any]) -> None:
    new = statements(lambda: post(client, phone_number=ALICE, stake_amount=1000, **more))
    again = statements(lambda: post(client, phone_number=ALICE, stake_amount=1000, **more))
    assert len(new) <= len(again) <= 8, again


def test_a_stake_for_a_code_takes_at_most_eight_statements(client: Client) -> None:
    code = paid_stake(client, ALICE, create_private=True).match_code
    found = statements(lambda: post(client, phone_number=BOB, stake_amount=1000, match_code=code))
    assert len(found) <= 8, found


def test_a_callback_takes_at_most_twelve_statements_or_thirteen_with_a_match(client: Client) -> None:
    alice, bob = stake(client, ALICE), stake(client, BOB)
    waits = statements(lambda: paid(client, alice, ALICE))
    matched = statements(lambda: paid(client, bob, BOB))
    assert len(waits) <= 12, waits
    assert len(matched) <= 13, matched
    # One INSERT writes both messages of a match.
    assert matched.count(REASONS[r'INTO "sms_smsmessage"']) == 1
    assert SmsMessage.objects.filter(kind="match_found").count() == 2
