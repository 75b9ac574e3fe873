"""The clocks of machines differ, so the database's clock decides about claims, leases and expiry."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from sms import alerts, clock
from sms.console import banners
from sms.dlr import polling
from sms.models import SmsMessage
from sms.outbox import queue_sms, send_sms
from sms.sending.claims import claim, free_leases_over_before, renew_leases
from sms.worker import recorder
from tests.conftest import Sandbox

pytestmark = [
    pytest.mark.django_db(transaction=True),
    # SQLite is a file on this machine, so it has no clock of its own.
    pytest.mark.skipif(connection.vendor != "postgresql", reason="the database is a file of this machine"),
]

PHONE = "+256772123456"
TRUE_NOW = timezone.now


@pytest.fixture(params=[1, -1], ids=["an hour ahead", "an hour behind"])
def wrong(request: Any, monkeypatch: Any) -> None:
    """Set this machine's clock wrong by an hour, and forget the last reading of the database's clock."""
    monkeypatch.setattr(clock, "current", clock.Clock())
    monkeypatch.setattr("django.utils.timezone.now", lambda: TRUE_NOW() + timedelta(hours=request.param))


def off(moment: datetime) -> float:
    return abs((moment - TRUE_NOW()).total_seconds())


def test_now_is_the_databases(wrong: None, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert off(clock.now()) < 5
        assert off(clock.now()) < 5  # the second call uses the first reading


def test_without_asking_it_tells_what_it_knows(wrong: None, django_assert_num_queries: Any) -> None:
    clock.now()
    with django_assert_num_queries(0):
        assert off(clock.now(ask=False)) < 5


def test_a_text_is_due_at_once_and_lives_as_long_as_it_should(wrong: None, sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    message = queue_sms(PHONE, "x")
    assert off(message.due_at) < 5
    assert off(message.expires_at - timedelta(hours=1)) < 5
    assert [claimed.pk for claimed in claim("me", 5, 20)] == [message.pk]
    message.refresh_from_db()
    assert message.lease_until
    assert off(message.lease_until - timedelta(seconds=20)) < 5
    # A second worker with a wrong clock must not free the lease of a running worker.
    assert free_leases_over_before(clock.read()) == 0
    renew_leases("me", [message.pk], 30)
    message.refresh_from_db()
    assert off(message.lease_until - timedelta(seconds=30)) < 5


def test_a_lease_that_is_over_is_free_whatever_this_machine_thinks(wrong: None, sandbox: Sandbox) -> None:
    over = TRUE_NOW() - timedelta(seconds=1)
    SmsMessage.objects.create(phone=PHONE, text="x", status="sending", lease_until=over, expires_at=TRUE_NOW())
    assert free_leases_over_before(clock.read()) == 1


def test_sent_now_is_not_over(wrong: None, sandbox: Sandbox) -> None:
    message = send_sms(PHONE, "x")
    assert message.status == "sent"
    assert message.sent_at
    assert off(message.sent_at) < 5


def test_who_looks_with_a_wrong_clock_still_sees_the_worker(wrong: None, sandbox: Sandbox, settings: Any) -> None:
    """The heartbeat and the check of the heartbeat both use the database's time, so there is no false alarm."""
    settings.SMS_DELIVERY = "worker"
    recorder.beat("me", TRUE_NOW())
    queue_sms(PHONE, "x")
    reading = banners.read(clock.now()).sending
    assert [worker.claimer for worker in reading.workers] == ["me"]
    assert banners.raised() == []
    assert alerts._present(clock.now()) == ({}, True)


def test_a_message_is_polled_when_the_databases_clock_says_so(wrong: None, sandbox: Sandbox) -> None:
    fields = {"phone": PHONE, "text": "x", "status": "sent", "provider_id": "dm-1", "expires_at": TRUE_NOW()}
    for minutes in (1, 5, 60 * 25):
        SmsMessage.objects.create(**fields, sent_at=TRUE_NOW() - timedelta(minutes=minutes))
    ages = [TRUE_NOW() - message.sent_at for message in polling.due(120) if message.sent_at]
    assert [age // timedelta(minutes=1) for age in ages] == [5]
