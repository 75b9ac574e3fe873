"""DMark responds late, or does not confirm that it has the message. The number of copies is limited."""

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
    """Set a connect timeout that is shorter than a slow response, and a read timeout that is longer."""
    settings.SMS_CONNECT_TIMEOUT, settings.SMS_READ_TIMEOUT = 0.3, 2.0


def test_an_answer_later_than_the_connect_timeout_is_waited_for(sandbox: Sandbox) -> None:
    """Before the fix, the connect timeout also limited the response, and a message was sent thirteen times."""
    sandbox.faults(latency_ms=1000)
    assert send_sms(PHONE, "x").status == "sent"
    # The response to the token request took a second too, and was not repeated.
    assert (sandbox.token_requests, sandbox.sends) == (1, 1)


def test_one_more_request_inline_and_no_third(sandbox: Sandbox, settings: Any) -> None:
    """Incident elsewhere: in bcgov/entity#20354, a slow provider caused retries, and each notice was sent twice."""
    settings.SMS_READ_TIMEOUT, settings.SMS_RATE_LIMIT_SECONDS = 0.5, 30
    sandbox.faults(send="hang", hang_seconds=1)
    with pytest.raises(InDoubt, match="may have the message"):
        send_sms(PHONE, "x")
    message = row()
    assert (message.status, message.ambiguous_requests, message.attempts, sandbox.sends) == ("unknown", 2, 2, 2)
    # The rate-limit key is kept, because the phone may have a copy.
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
    """A task that runs twice may send a message that has already had three ambiguous requests."""
    settings.SMS_DELIVERY = "worker"
    sandbox.faults(send="reset")
    message = queue_sms("0772123456", "hello")
    SmsMessage.objects.update(ambiguous_requests=3)
    deliver(message.pk)
    message.refresh_from_db()
    assert (message.status, message.ambiguous_requests, message.attempts) == ("unknown", 4, 1)
