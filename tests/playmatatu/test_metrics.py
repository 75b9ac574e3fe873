"""`/metrics`: off by default, behind a token, and read from the database."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from sms.outbox import queue_sms
from sms.worker import heartbeat
from tests.conftest import Sandbox

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


def test_what_it_tells(client: Client, sandbox: Sandbox, settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN
    queue_sms("0772123456", "x" * 170, kind="match_found")
    sandbox.faults(send="400")
    queue_sms("0772123457", "x", kind="match_found")
    heartbeat.beat("a", timezone.now(), 3)
    told = scrape(client)
    assert told["messages match_found sent"] == 1
    assert told["messages match_found failed"] == 1
    assert told["segments match_found"] == 3
    assert told["workers"] == 1
    assert told["waiting"] == told["provider_trouble"] == told["credentials_refused"] == 0
    assert abs(told["last_accepted_timestamp_seconds"] - timezone.now().timestamp()) < 60


def test_few_queries(client: Client, settings: Any, sandbox: Sandbox, django_assert_max_num_queries: Any) -> None:
    settings.METRICS_TOKEN = TOKEN
    for number in range(5):
        queue_sms(f"077212345{number}", "x")
    scrape(client)
    with django_assert_max_num_queries(10):
        scrape(client)
