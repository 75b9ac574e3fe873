"""A DMark that answers late, or takes a text and never says so: how many copies can arrive."""

import threading
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from sms.dlr.statuses import record_report
from sms.errors import InDoubt
from sms.models import SmsMessage
from sms.outbox import deliver, queue_sms, send_sms
from tests.conftest import Sandbox, wait_for
from tests.sms.sending.keys import acquire

pytestmark = pytest.mark.django_db(transaction=True)

PHONE = "+256772123456"


def row() -> SmsMessage:
    return SmsMessage.objects.get()


@pytest.fixture(autouse=True)
def different_times(settings: Any, sandbox: Sandbox) -> None:
    """An answer that takes longer than the one time-out and less than the other."""
    settings.SMS_CONNECT_TIMEOUT, settings.SMS_READ_TIMEOUT = 0.3, 2.0


def test_an_answer_later_than_the_connect_timeout_is_waited_for(sandbox: Sandbox) -> None:
    """Each time-out as it is named: taken for one another they sent a text thirteen times."""
    sandbox.faults(latency_ms=1000)
    assert send_sms(PHONE, "x").status == "sent"
    # The token's answer took its second too.
    assert (sandbox.token_requests, sandbox.sends) == (1, 1)


def test_one_more_request_inline_and_no_third(sandbox: Sandbox, settings: Any) -> None:
    """bcgov/entity#20354: a slow provider, a job tried again, each notice twice."""
    settings.SMS_READ_TIMEOUT, settings.SMS_RATE_LIMIT_SECONDS = 0.5, 30
    sandbox.faults(send="hang", hang_seconds=1)
    with pytest.raises(InDoubt, match="may have the message"):
        send_sms(PHONE, "x")
    message = row()
    assert (message.status, message.ambiguous_requests, message.attempts, sandbox.sends) == ("unknown", 2, 2, 2)
    # Its key stays: a copy may be on the phone.
    assert acquire(PHONE, "", message.pk + 1) > 0
    record_report(message.pk, "PENDING", "push")
    assert row().status == "sent"


@pytest.mark.parametrize("fault", ["reset", "truncated"])
def test_what_was_written_and_not_answered_in_full(sandbox: Sandbox, fault: str) -> None:
    sandbox.faults(send=fault)
    queue_sms(PHONE, "x")
    assert (row().status, row().ambiguous_requests, sandbox.sends) == ("unknown", 2, 2)


def test_the_operators_command_says_perhaps(sandbox: Sandbox) -> None:
    sandbox.faults(send="reset")
    with pytest.raises(CommandError, match=r"Perhaps sent .* Look at the phone"):
        call_command("send_test_sms", PHONE)


def test_a_second_request_that_is_answered_settles_it(sandbox: Sandbox) -> None:
    sandbox.faults(send="reset", send_times=1)
    assert send_sms(PHONE, "x").status == "sent"
    assert sandbox.sends == 2


@pytest.mark.parametrize("word", ["PENDING", "DELIVERED", "banana"])
def test_a_report_of_any_word_ends_the_tries(sandbox: Sandbox, settings: Any, word: str) -> None:
    settings.SMS_READ_TIMEOUT = 0.7
    sandbox.faults(send="hang", hang_seconds=1.5)
    ended: list[str] = []

    def run() -> None:
        try:
            ended.append(send_sms(PHONE, "x").status)
        finally:
            connection.close()

    sender = threading.Thread(target=run)
    sender.start()
    wait_for(lambda: sandbox.sends == 1)
    record_report(row().pk, word, "push")
    sender.join()
    assert ended == ["delivered" if word == "DELIVERED" else "sent"]
    assert sandbox.sends == 1


def test_an_answer_that_is_not_dmarks_is_never_asked_for_again(sandbox: Sandbox) -> None:
    sandbox.faults(send="html")
    queue_sms(PHONE, "x")
    assert (row().status, row().attempts, sandbox.sends) == ("unknown", 1, 1)
    assert "We can't tell whether the SMS was sent." in row().error


def test_the_fourth_request_is_the_last_whoever_makes_it(sandbox: Sandbox, settings: Any) -> None:
    """A task that its queue runs twice finds a text that was asked for three times already."""
    settings.SMS_DELIVERY = "worker"
    sandbox.faults(send="reset")
    message = queue_sms("0772123456", "hello")
    SmsMessage.objects.update(ambiguous_requests=3)
    deliver(message.pk)
    message.refresh_from_db()
    assert (message.status, message.ambiguous_requests, message.attempts) == ("unknown", 4, 1)
