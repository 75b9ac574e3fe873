"""Ids above 2^31 work everywhere.

Incident elsewhere: graphile/worker v0.17.3 cast ids to an int when a job failed.
"""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from sms.dlr import polling
from sms.models import SmsEvent, SmsMessage
from sms.outbox import queue_sms, resend, send_sms
from sms.worker import maintenance
from sms.worker.worker import Options, Worker
from tests.conftest import Sandbox

BEYOND = 2**31 + 5

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def large_ids(db: None) -> None:
    for model in (SmsMessage, SmsEvent):
        table = model._meta.db_table
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", [table, BEYOND])
            else:
                cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", [table])
                cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [table, BEYOND])


def status(message: SmsMessage) -> str:
    message.refresh_from_db()
    return message.status


def test_everywhere(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    good, bad = queue_sms("0772123456", "good"), queue_sms("0772123457", "bad")
    assert good.pk > BEYOND
    sandbox.faults(send="503")
    assert Worker(Options(once=True)).run()
    assert (status(good), status(bad)) == ("queued", "queued")
    sandbox.faults(send="ok")
    SmsMessage.objects.update(due_at=timezone.now())
    assert Worker(Options(once=True)).run()
    assert status(good) == "sent"
    assert good.events.count() == 4
    SmsMessage.objects.filter(pk=bad.pk).update(status="failed")
    assert resend(SmsMessage.objects.filter(pk=bad.pk), "operator") == [bad.pk]
    assert Worker(Options(once=True)).run()
    assert status(send_sms("0772123458", "now")) == "sent"
    for received in sandbox.server.state.messages:
        received.status = "DELIVERED"
    SmsMessage.objects.update(sent_at=timezone.now() - timedelta(minutes=5))
    polling.poll()
    assert set(SmsMessage.objects.values_list("status", flat=True)) == {"delivered"}
    SmsMessage.objects.update(created_at=timezone.now() - timedelta(days=5))
    assert maintenance.delete(timezone.now(), lambda done: None) == 3
    assert not SmsEvent.objects.exists()
