"""Alerts are sent when money becomes contested, when it no longer is, and when no sms_worker is running."""

import threading
from datetime import timedelta
from typing import Any

import django
import pytest
from django.utils import timezone

from game.worker import Worker
from payments.models import Payment
from sms import alerts
from sms.models import SmsAlert, SmsWorker
from sms.outbox import queue_sms
from tests.conftest import Sandbox, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def somebody(settings: Any) -> None:
    address = "night@example.com"
    settings.ADMINS = [address] if django.VERSION >= (6, 0) else [(address, address)]


def test_the_game_worker_tells_that_no_sms_worker_runs(sandbox: Sandbox, mailoutbox: list[Any], settings: Any) -> None:
    """An sms_worker was killed five minutes ago. A check a minute ago found this and waited for a restart."""
    settings.SMS_DELIVERY = "worker"
    ago = timezone.now() - timedelta(minutes=5)
    SmsWorker.objects.create(claimer="one", name="host:1", seen_at=ago)
    for number in range(10):
        queue_sms("0772123456", "x", kind="hint", dedupe_key=f"waiting:{number}")
    alerts.check(timezone.now() - timedelta(minutes=1))
    assert mailoutbox == []
    worker = Worker(0.2, lambda line: None)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_for(lambda: bool(mailoutbox))
    finally:
        worker.stop()
        thread.join()
    assert mailoutbox[0].body.startswith("No SMS worker is running; 10 texts waiting. Start manage.py sms_worker")


def test_contested_money_is_told_once(mailoutbox: list[Any]) -> None:
    alerts.check()
    assert mailoutbox == []
    payment = Payment.objects.create(phone="+256772000001", amount=1000, status="SUCCESS", contested=True)
    for _ in range(2):
        alerts.check()
    (letter,) = mailoutbox
    assert "1 payment is contested: the provider reported success and then failure, or the reverse." in letter.body
    payment.contested = False
    payment.save()
    alerts.check(timezone.now() + timedelta(minutes=3))
    assert [letter.subject.split(":")[0] for letter in mailoutbox] == ["[PlayMatatu] begins", "[PlayMatatu] over"]
    assert not SmsAlert.objects.exists()
