"""Public incidents in similar systems that fit no other test module. docs/incidents.md lists all incidents."""

import re
import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from sms import outbox
from sms.dlr import polling
from sms.dmark.dlr_url import dlr_url
from sms.models import SmsMessage
from sms.outbox import queue_sms
from tests.conftest import Sandbox

ROOT = Path(__file__).parents[2]
PHONE = "+256772123456"


@pytest.mark.django_db(transaction=True)
def test_limited_then_taken_then_reported(sandbox: Sandbox, settings: Any, client: Client) -> None:
    """DMark responds 429, then accepts the message. The delivery report still finds the message."""
    settings.SITE_URL = "http://testserver"
    sandbox.faults(send="429", send_times=1, retry_after=0)
    message = queue_sms(PHONE, "x")
    assert (
        client.post(dlr_url(message.pk).removeprefix("http://testserver"), {"status": "DELIVERED"}).status_code == 200
    )
    message.refresh_from_db()
    assert (message.status, message.attempts) == ("delivered", 2)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["0913", "0e999f21-81ef-4974-a414-3de98174e3c7", "E999F21", "9380935605053030457"])
def test_dmarks_id_is_asked_for_as_it_was_given(sandbox: Sandbox, name: str) -> None:
    """Incidents elsewhere: in jookies/jasmin#643 and #423, reports lost leading zeros and capitals of the id."""
    message = queue_sms(PHONE, "x")
    SmsMessage.objects.filter(pk=message.pk).update(provider_id=name)
    polling.poll(min_age=0)
    [asked] = [request["body"] for request in sandbox.requests() if request["path"] == "/v3/api/dlr/"]
    assert asked == {"msg_id": name, "msgId": name}


@pytest.mark.django_db(transaction=True)
def test_an_operator_and_a_retry_at_the_same_moment_send_one(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    message = queue_sms(PHONE, "x")
    SmsMessage.objects.filter(pk=message.pk).update(status="failed")

    def order() -> None:
        outbox.resend(SmsMessage.objects.filter(pk=message.pk), "operator")
        outbox.deliver(message.pk)
        connection.close()

    threads = [threading.Thread(target=order) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sandbox.sends == 1


def test_every_test_that_the_table_names_exists() -> None:
    page = (ROOT / "docs" / "incidents.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)
    assert len(named) > 20
    for path, test in named:
        text = (ROOT / path).read_text()
        assert not test or f"def {test}(" in text, f"{path} has no {test}"
