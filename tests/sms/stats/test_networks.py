"""Statistics by mobile network: the messages of one network are late."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from sms.console import banners
from sms.console.overview import network_rows
from sms.models import SmsMessage
from sms.networks import network_of
from sms.stats import by_network
from tests.conftest import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

MTN, AIRTEL, UNKNOWN = "+256772123456", "+256701123456", "+256710123456"


def texts(phone: str, minutes: float, count: int = 1, arrives: float | None = 3, **values: Any) -> None:
    """Create messages that were queued `minutes` ago. They were delivered after `arrives` seconds, or never (None)."""
    at = timezone.now() - timedelta(minutes=minutes)
    fields: dict[str, Any] = {"phone": phone, "text": "x", "created_at": at, "expires_at": at, "sent_at": at}
    fields |= {"status": "sent" if arrives is None else "delivered"}
    if arrives is not None:
        fields["delivered_at"] = at + timedelta(seconds=arrives)
    SmsMessage.objects.bulk_create(SmsMessage(**fields | values) for _ in range(count))


def slow() -> list[str]:
    return [one.network for one in by_network.in_trouble(timezone.now())]


@pytest.mark.parametrize(
    ("phone", "network"),
    [
        (MTN, "mtn"),
        ("+256392123456", "mtn"),
        (AIRTEL, "airtel"),
        ("+256752123456", "airtel"),
        (UNKNOWN, ""),
        ("+254712345678", ""),
    ],
)
def test_the_network_of_a_number(phone: str, network: str) -> None:
    assert network_of(phone) == network


def test_the_prefixes_are_a_setting(settings: Any) -> None:
    settings.NETWORK_PREFIXES = {"lyca": ["071"]}
    assert network_of(UNKNOWN) == "lyca"
    assert network_of(MTN) == ""


@pytest.mark.parametrize(
    ("phone", "network"), [(MTN, "mtn"), ("+256779123456", "airtel"), (AIRTEL, ""), ("+256752123456", "airtel")]
)
def test_the_longest_prefix_decides(settings: Any, phone: str, network: str) -> None:
    settings.NETWORK_PREFIXES = {"MTN": ["077"], "Airtel": ["0779", "075"]}
    assert network_of(phone) == network


def test_a_network_is_slow_after_ten_minutes_of_it_not_before() -> None:
    for minute in range(5, 35):
        texts(AIRTEL, minute + 0.5, 3)
    for minute in range(5, 14):
        texts(MTN, minute + 0.5, 3, arrives=400)
    for minute in range(14, 35):
        texts(MTN, minute + 0.5, 3)
    assert slow() == []
    SmsMessage.objects.filter(phone=MTN).delete()
    for minute in range(5, 35):
        texts(MTN, minute + 0.5, 3, arrives=400 if minute < 24 else 3)
    assert slow() == ["mtn"]


def test_a_network_with_longer_prefixes_is_slow(settings: Any) -> None:
    settings.NETWORK_PREFIXES = {"mtn": ["077"], "lyca": ["0779"]}
    for minute in range(5, 35):
        texts("+256779123456", minute + 0.5, 3, arrives=400)
        texts(MTN, minute + 0.5, 3)
    assert slow() == ["lyca"]


def test_what_has_not_arrived_at_all_or_failed_counts_as_well() -> None:
    for minute in range(5, 35):
        texts(AIRTEL, minute + 0.5, 3, arrives=None)
        texts(MTN, minute + 0.5, 3, arrives=None, status="undelivered")
        texts(UNKNOWN, minute + 0.5, 3)
    assert slow() == ["airtel", "mtn"]


def test_one_text_in_ten_is_the_limit() -> None:
    for minute in range(5, 35):
        texts(MTN, minute + 0.5, 9)
        texts(MTN, minute + 0.5, 1, arrives=None)
    assert slow() == []
    texts(MTN, 10.5, 4, arrives=None)
    assert slow() == []


def test_one_phone_that_is_off_is_no_network_in_trouble() -> None:
    texts(AIRTEL, 8)
    for minute in (6, 12, 18, 24):
        texts(MTN, minute, arrives=None)
    assert slow() == []


def test_without_reports_what_dmark_took_has_arrived(settings: Any) -> None:
    for minute in range(5, 35):
        texts(MTN, minute + 0.5, 3, arrives=None)
    assert slow() == []
    SmsMessage.objects.update(sent_at=None, status="queued")
    assert slow() == ["mtn"]
    texts(AIRTEL, 8)
    SmsMessage.objects.filter(phone=MTN).update(sent_at=timezone.now() - timedelta(minutes=40), status="sent")
    assert slow() == ["mtn"]
    settings.SMS_DLR_ENABLED = False
    assert slow() == []


def test_the_banner_and_the_table(client: Client, sandbox: Sandbox) -> None:
    for minute in range(5, 35):
        texts(MTN, minute + 0.5, 2, arrives=400)
        texts(AIRTEL, minute + 0.5, 2)
    (banner,) = [banner.text for banner in banners.raised()]
    # The messages of the current minute are counted only if the minute has ended: 18 or 20.
    assert banner.replace("18", "20") == "MTN: 100% of the last 20 texts were late or not delivered."
    rows = {row.name: row for row in network_rows(by_network.sample(timezone.now() - timedelta(days=1), 1000))}
    assert (rows["MTN"].texts, rows["MTN"].delivered, rows["MTN"].deliver) == (60, "100.0%", "7 min · 7 min")
    assert rows["Airtel"].deliver == "3.0 s · 3.0 s"
    client.force_login(User.objects.create_superuser("operator"))
    html = client.get("/admin/sms/").content.decode()
    assert "By network" in html
    assert ">3.0 s · 3.0 s</td>" in html
