"""Phone numbers with a fixed outcome: each works without a switch, and docs/sandbox.md lists it."""

import re
from pathlib import Path
from typing import Any

import pytest

from playmatatu.sandbox.money.faults import Faults
from sms.models import SmsMessage
from sms.outbox import queue_sms
from tests.conftest import wait_for
from tests.playmatatu.sandbox.shop import Shop
from tests.sandbox import Sandbox

ROOT = Path(__file__).parents[3]


def test_the_document_has_the_table() -> None:
    rows = re.findall(r"^\| `(077\d{7})` \| (.+) \|$", (ROOT / "docs" / "sandbox.md").read_text(), re.MULTILINE)
    assert rows == [(each.number, each.outcome) for each in Faults.NUMBERS]
    assert len({number for number, _ in rows}) == len(rows)


@pytest.mark.parametrize(
    ("number", "status", "message"),
    [
        ("001", "Failed", "The payer declined the request"),
        ("002", "Pending", "Transaction pending"),
        ("005", "Failed", "Insufficient funds"),
        ("006", "Successful", "Transaction successful"),
        ("010", "Successful", "Transaction successful"),
    ],
)
def test_payins(shop: Shop, number: str, status: str, message: str) -> None:
    transaction_id = shop.order(msisdn=f"256770000{number}").json()["transaction_id"]
    wait_for(lambda: shop.word(transaction_id) == status)
    assert shop.status(transaction_id).json()["message"] == message
    assert shop.sandbox.prompts() == []


@pytest.mark.parametrize(("number", "status"), [("006", "Successful"), ("010", "Failed"), ("011", "Pending")])
def test_payouts(shop: Shop, number: str, status: str) -> None:
    assert shop.order("R-1", "payout", msisdn=f"256770000{number}").json()["status"] == status


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("number", "status", "copies"),
    [
        ("003", "undelivered", 1),
        ("004", "failed", 0),
        ("007", "sent", 0),
        ("008", "sent", 1),
        ("009", "delivered", 1),
        ("012", "delivered", 1),
    ],
)
def test_sms(sandbox: Sandbox, settings: Any, live_server: Any, number: str, status: str, copies: int) -> None:
    settings.SITE_URL = live_server.url
    sandbox.faults(report="delivered", report_after=0.05)
    queue_sms(f"0770000{number}", "hello")
    wait_for(lambda: SmsMessage.objects.get().status == status)
    assert len(sandbox.inbox()) == copies
