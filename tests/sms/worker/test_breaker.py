"""When the circuit breaker pauses sending, and when it resumes sending."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from sms.errors import (
    AccountRefused,
    AuthenticationFailed,
    InDoubt,
    Misdirected,
    NotDmarks,
    ProviderRejected,
    ProviderUnavailable,
    SmsError,
    Trouble,
)
from sms.models import SmsMessage, Status
from sms.outbox import queue_sms
from sms.sending.attempt import Result
from sms.worker.breaker import ENOUGH, FIRST_PAUSE, LONGEST_PAUSE, SAME_REFUSALS, SHARE, WINDOW, Breaker
from sms.worker.worker import Options, Worker
from tests.conftest import Sandbox

NOW = timezone.now()


def result(reason: SmsError | None = None, number: int = 1) -> Result:
    message = SmsMessage(pk=number, phone=f"+2567720000{number:02}", expires_at=NOW + timedelta(hours=1))
    return Result(message, Status.FAILED if reason else Status.SENT, NOW, reason)


@pytest.fixture
def clock(monkeypatch: Any) -> list[float]:
    at = [1000.0]
    monkeypatch.setattr("sms.clock.monotonic", lambda: at[0])
    return at


@pytest.mark.parametrize(
    ("reason", "trouble"),
    [
        (AuthenticationFailed("DMark refuses the credentials (401).", 401), Trouble.CREDENTIALS),
        (Misdirected("DMark redirects (301).", 301), Trouble.CREDENTIALS),
        (AccountRefused("DMark refuses the account: Insufficient credit.", 400), Trouble.ACCOUNT),
    ],
)
def test_one_is_enough_where_no_text_is_to_blame(reason: SmsError, trouble: Trouble) -> None:
    breaker = Breaker()
    breaker.record(result(reason))
    assert (breaker.is_open, breaker.trouble, breaker.reason) == (True, trouble, str(reason))
    breaker.record(result())
    assert (breaker.is_open, breaker.trouble, breaker.reason) == (False, Trouble.NONE, "")


@pytest.mark.parametrize("reason", [ProviderUnavailable("503", 503), InDoubt("DMark did not answer in time.")])
def test_dmark_is_in_trouble_when_most_sends_fail(reason: SmsError) -> None:
    breaker = Breaker()
    for number in range(ENOUGH - 1):
        breaker.record(result(reason, number))
    assert not breaker.is_open
    breaker.record(result(reason))
    assert breaker.trouble == Trouble.PROVIDER


def test_a_fifth_that_passes_keeps_it_going() -> None:
    breaker = Breaker()
    passing = round(WINDOW * (1 - SHARE)) + 1
    for number in range(WINDOW):
        breaker.record(result(None if number < passing else ProviderUnavailable("503", 503)))
    assert not breaker.is_open
    breaker.record(result(ProviderUnavailable("503", 503)))
    assert breaker.is_open  # The oldest success is no longer among the last 40 results.


def test_the_same_refusal_of_many_numbers_is_the_accounts() -> None:
    breaker = Breaker()
    refusal = ProviderRejected("DMark refuses the text (400): Nope.", 400)
    for number in range(1, SAME_REFUSALS):
        breaker.record(result(refusal, number))
        breaker.record(result(refusal, number))  # a second refusal of the same number does not count
    assert (breaker.is_open, breaker.taken_back) == (False, [])
    breaker.record(result(refusal, SAME_REFUSALS))
    assert (breaker.trouble, breaker.reason) == (Trouble.ACCOUNT, str(refusal))
    # The earlier refusals, which were already stored as failures, are queued again.
    assert breaker.taken_back == list(range(1, SAME_REFUSALS + 1))


@pytest.mark.parametrize("between", [None, ProviderRejected("Something else (400).", 400)])
def test_another_end_between_begins_the_count_anew(between: SmsError | None) -> None:
    breaker = Breaker()
    refusal = ProviderRejected("DMark refuses the text (400): Nope.", 400)
    for number in range(1, SAME_REFUSALS):
        breaker.record(result(refusal, number))
    breaker.record(result(between, 90))
    breaker.record(result(refusal, 91))
    assert not breaker.is_open


def test_a_probe_that_is_refused_alike_goes_back_too(clock: list[float]) -> None:
    breaker = Breaker()
    refusal = ProviderRejected("DMark refuses the text (400): Nope.", 400)
    for number in range(SAME_REFUSALS):
        breaker.record(result(refusal, number))
    breaker.taken_back.clear()
    clock[0] += FIRST_PAUSE
    breaker.record(result(refusal, 50))
    assert (breaker.is_open, breaker.taken_back) == (True, [50])
    assert breaker.seconds_to_probe() == 2 * FIRST_PAUSE


@pytest.mark.parametrize("reason", [NotDmarks("An answer that is not DMark's."), SmsError("Internal error.")])
def test_what_says_nothing_of_the_others(reason: SmsError) -> None:
    breaker = Breaker()
    for number in range(2 * ENOUGH):
        breaker.record(result(reason, number))
    assert not breaker.is_open


def test_probes_come_after_growing_pauses(clock: list[float]) -> None:
    breaker, pauses = Breaker(), []
    for _ in range(8):
        breaker.record(result(AuthenticationFailed("no", 401)))
        pauses.append(breaker.seconds_to_probe())
        # The result of a message that was in flight before the breaker opened changes nothing.
        breaker.record(result(AuthenticationFailed("no", 401)))
        assert breaker.seconds_to_probe() == pauses[-1]
        clock[0] += pauses[-1]
    assert pauses == [2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    breaker.record(result())
    breaker.record(result(AuthenticationFailed("no", 401)))
    assert breaker.seconds_to_probe() == FIRST_PAUSE


@pytest.mark.django_db
def test_a_text_that_never_passes_is_not_every_probe(sandbox: Sandbox, settings: Any) -> None:
    """A probe prefers the message with the fewest attempts.

    If DMark wrongly seems to refuse the account, a wrong number must not be chosen for every probe.
    """
    settings.SMS_DELIVERY = "worker"
    refused, fresh = queue_sms("0772000001", "x"), queue_sms("0772000002", "x")
    SmsMessage.objects.filter(pk=refused.pk).update(attempts=1)
    worker = Worker(Options())
    worker.breaker.record(result(AccountRefused("DMark refuses the account: No.", 400)))
    worker.breaker._next_probe = 0.0
    assert worker._claim()
    assert list(worker.recorder.in_hand) == [fresh.pk]
