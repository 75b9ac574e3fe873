"""Test the polls for missing delivery reports."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from sms.dlr import polling
from sms.models import SmsEvent, SmsMessage
from sms.outbox import queue_sms
from tests.conftest import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


def sent(minutes: float = 5, **values: Any) -> SmsMessage:
    """Create a message that DMark accepted `minutes` ago, without a delivery report."""
    message = queue_sms("0772123456", "hello")
    values = {"sent_at": timezone.now() - timedelta(minutes=minutes), **values}
    SmsMessage.objects.filter(pk=message.pk, status="sent").update(**values)
    message.refresh_from_db()
    return message


def says(sandbox: Sandbox, word: str) -> None:
    """Set the status that the sandbox returns for every polled message."""
    for received in sandbox.server.state.messages:
        received.status = word


def poll_dlr(*arguments: str) -> str:
    out = StringIO()
    call_command("poll_dlr", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize(("word", "end"), [("DELIVERED", "delivered"), ("FAILED", "undelivered"), ("PENDING", "sent")])
def test_a_polled_status_is_recorded(sandbox: Sandbox, word: str, end: str) -> None:
    message = sent()
    says(sandbox, word)
    said = poll_dlr()
    message.refresh_from_db()
    assert message.status == end
    event = SmsEvent.objects.get(what="report")
    assert (event.step, event.answer) == ("poll", word)
    assert "Polled for 1:" in said


def test_only_missing_reports_are_polled(sandbox: Sandbox) -> None:
    wanted = sent(3)
    for odd in (sent(1), sent(60 * 25), sent(provider_id="")):
        assert odd.status == "sent"
    done = sent(status="delivered")
    says(sandbox, "DELIVERED")
    poll_dlr()
    assert sandbox.asked("/v3/api/dlr/") == 1
    wanted.refresh_from_db()
    assert wanted.status == "delivered"
    assert done.status == "delivered"
    assert poll_dlr("--min-age", "30").startswith("Polled for 1:")


def test_oldest_first_and_bounded(sandbox: Sandbox) -> None:
    ages = [10, 40, 20, 30]
    messages = {age: sent(age) for age in ages}
    assert "Polled for 2:" in poll_dlr("--limit", "2")
    asked = set(SmsMessage.objects.exclude(polled_at=None).values_list("pk", flat=True))
    assert asked == {messages[40].pk, messages[30].pk}


def test_a_message_without_a_report_does_not_delay_others(sandbox: Sandbox) -> None:
    silent = sent(10)
    assert "Polled for 1:" in poll_dlr()
    assert "Polled for 0:" in poll_dlr()
    now = timezone.now()
    SmsMessage.objects.filter(pk=silent.pk).update(polled_at=now - timedelta(minutes=4))
    assert "Polled for 0:" in poll_dlr()
    SmsMessage.objects.filter(pk=silent.pk).update(polled_at=now - timedelta(minutes=5, seconds=1))
    assert "Polled for 1:" in poll_dlr()


def test_an_unreadable_response_changes_nothing(sandbox: Sandbox) -> None:
    sandbox.faults(dlr="404")
    message = sent()
    assert "1 still on the way" in poll_dlr()
    message.refresh_from_db()
    assert message.status == "sent"
    assert not SmsEvent.objects.filter(what="report").exists()


def test_an_unreachable_provider_ends_the_polling_with_a_message(sandbox: Sandbox) -> None:
    for _ in range(5):
        sent()
    sandbox.faults(dlr="503")
    with pytest.raises(CommandError, match=r"gave up: DMark is in trouble \(503\)"):
        poll_dlr()
    assert sandbox.asked("/v3/api/dlr/") == 3


def test_disabled(settings: Any) -> None:
    SmsMessage.objects.create(
        phone="+256772123456",
        text="x",
        status="sent",
        provider_id="1",
        sent_at=timezone.now() - timedelta(minutes=5),
        expires_at=timezone.now(),
    )
    with pytest.raises(CommandError, match="SMS is disabled"):
        poll_dlr()


def test_polling_can_be_stopped_between_two_messages(sandbox: Sandbox) -> None:
    for _ in range(3):
        sent()
    turns = iter([False, True])
    assert polling.poll(stopping=lambda: next(turns)).total() == 1
