"""`/metrics` is off by default, needs a token, and reads from the database."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from payments.models import Payment
from payments.rules.states import Account
from sms.models import SmsMessage
from sms.outbox import queue_sms
from sms.worker import recorder
from tests.conftest import Sandbox
from tests.game_helpers import callback
from tests.payments.helpers import pay, settle

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "a-token-for-the-scraper"


def scrape(client: Client) -> dict[str, float]:
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.content.decode())
    samples = [sample for family in families for sample in family.samples]
    return {
        " ".join([sample.name.removeprefix("playmatatu_sms_"), *sample.labels.values()]): sample.value
        for sample in samples
    }


def test_off_without_a_token(client: Client) -> None:
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", f"bearer {TOKEN}", TOKEN, f"Bearer {TOKEN}é"])
def test_a_right_token_is_needed(client: Client, settings: Any, given: str) -> None:
    settings.METRICS_TOKEN = TOKEN
    answer = client.get("/metrics", headers={"Authorization": given})
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"
    assert client.post("/metrics").status_code == 405


def test_the_metrics_of_sms(client: Client, sandbox: Sandbox, settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN
    queue_sms("0772123456", "x" * 170, kind="match_found")
    sandbox.faults(send="400")
    queue_sms("0772123457", "x", kind="match_found")
    recorder.beat("a", timezone.now(), sent=3)
    told = scrape(client)
    assert told["messages match_found sent"] == 1
    assert told["messages match_found failed"] == 1
    assert told["segments match_found"] == 3
    assert told["workers"] == 1
    assert told["waiting"] == told["provider_trouble"] == told["credentials_refused"] == 0
    assert abs(told["last_accepted_timestamp_seconds"] - timezone.now().timestamp()) < 60


def test_each_network_has_its_histograms(client: Client, sandbox: Sandbox, settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN
    now = timezone.now()
    for phone, accept, deliver in (
        ("+256772123456", 0.3, 3),
        ("+256772123457", 90, 200),
        ("+256701123456", 7, None),
    ):
        sent = now + timedelta(seconds=accept)
        message = queue_sms(phone, "x")
        arrived = sent + timedelta(seconds=deliver) if deliver else None
        SmsMessage.objects.filter(pk=message.pk).update(created_at=now, sent_at=sent, delivered_at=arrived)
    old = queue_sms("0772123458", "x")
    SmsMessage.objects.filter(pk=old.pk).update(created_at=now - timedelta(hours=2))
    told = scrape(client)
    accepts = {bound: told[f"accept_seconds_bucket {bound} mtn"] for bound in ("0.5", "60.0", "120.0", "+Inf")}
    assert accepts == {"0.5": 1, "60.0": 1, "120.0": 2, "+Inf": 2}
    assert told["accept_seconds_sum mtn"] == pytest.approx(90.3)
    assert told["deliver_seconds_count mtn"] == 2
    assert told["deliver_seconds_bucket 5.0 mtn"] == 1
    assert (told["accept_seconds_bucket 10.0 airtel"], told["accept_seconds_bucket 5.0 airtel"]) == (1, 0)
    assert told["deliver_seconds_count airtel"] == 0


def test_each_metric_of_the_money_is_documented(client: Client, settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN
    told = {name.partition(" ")[0] for name in scrape(client) if name.startswith("playmatatu_payments_")}
    page = (Path(__file__).parents[2] / "docs" / "payments.md").read_text()
    table = page[page.index("| metric | meaning |") : page.index("## For developers")]
    cells = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    named = {name.partition("{")[0] for name in re.findall(r"`([^`]+)`", cells)}
    assert named == {name.removeprefix("playmatatu_payments_") for name in told}


def test_few_queries(client: Client, settings: Any, sandbox: Sandbox, django_assert_max_num_queries: Any) -> None:
    settings.METRICS_TOKEN = TOKEN
    for number in range(5):
        queue_sms(f"077212345{number}", "x")
    scrape(client)
    with django_assert_max_num_queries(33):
        scrape(client)


def test_money_that_needs_a_person(client: Client, settings: Any, collection: Sandbox) -> None:
    settings.METRICS_TOKEN = TOKEN
    collection.faults(callback="never", payin="500", payin_times=1)
    ambiguous, late, gone = pay("+256772000001"), pay("+256772000002", 2000), pay("+256772000003", 4000)
    for payment, first, second in ((late, "FAILED", "SUCCESS"), (gone, "SUCCESS", "FAILED")):
        settle(payment.pk, Payment.Status(first), by="callback")
        settle(payment.pk, Payment.Status(second), by="callback")
    Payment.objects.create(phone="+256772000004", amount=1000, collection="unresolved")
    for raw in ("{", '{"transaction_id": "x", "phone_number": "0772000001", "amount": 1, "status": "SUCCESS"}'):
        callback(client, raw.encode())
    told = {name.removeprefix("playmatatu_payments_"): value for name, value in scrape(client).items()}
    assert ambiguous.collection == "in_doubt"
    expected = {"in_doubt": 1, "unresolved": 1, "contested": 2, "refund_due": 1, "refund_due_ugx": 2000}
    expected |= {"to_ask": 0, "asked": 0, "refunds_in_doubt": 0, "callbacks_refused": 1, "callbacks_unreadable": 1}
    expected |= {"lost_ugx": 0, "prizes_due": 0, "prizes_held": 0, "answers_owed": 0, "unknown_words": 0, "to_adopt": 1}
    assert {name: told[name] for name in expected} == expected
    balances = {name.partition(" ")[2]: ugx for name, ugx in told.items() if name.startswith("balance_ugx ")}
    assert set(balances) == {account.value for account in Account}
    assert {name: ugx for name, ugx in balances.items() if ugx} == {
        "provider": 6000,
        "refund_due": 2000,
        "contested": 4000,
    }
