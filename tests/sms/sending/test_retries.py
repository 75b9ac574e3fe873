"""When a failed message is sent again, and when it is not."""

from datetime import timedelta

import pytest
from django.utils import timezone

from sms.dmark.exchange import Exchange
from sms.errors import (
    AccountRefused,
    AuthenticationFailed,
    InDoubt,
    Misdirected,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
    SmsError,
)
from sms.models import SmsMessage, Status
from sms.sending.attempt import LONGEST_DELAY, Result, conclude, delay, settle
from sms.sending.results import record

NOW = timezone.now()
SEND = Exchange("send", 1, 503, "", "", "DMark is in trouble (503).", 5)


def failed(
    reason: SmsError | None, *, status: str = Status.FAILED, retries: int = 0, sends: int = 1, ambiguous: int = 0
) -> Result:
    message = SmsMessage(pk=1, retries=retries, ambiguous_requests=ambiguous, expires_at=NOW + timedelta(hours=1))
    return Result(message, Status(status), NOW, reason, exchanges=[SEND] * sends)


def seconds(outcome: Result) -> float:
    assert outcome.due_at
    return (outcome.due_at - NOW).total_seconds()


def test_pauses_grow_and_differ() -> None:
    for retries, longest in enumerate([2, 4, 8, 16, 32, 64, 120, 120]):
        drawn = {delay(retries) for _ in range(50)}
        assert len(drawn) > 10
        assert longest * 0.75 <= min(drawn) <= max(drawn) <= longest
    assert delay(10_000) <= LONGEST_DELAY


@pytest.mark.parametrize(("retries", "least", "most"), [(0, 1.5, 2), (2, 6, 8), (3, 600, 600), (4, 600, 600)])
def test_a_provider_in_trouble_is_tried_later(retries: int, least: float, most: float) -> None:
    settled = settle(failed(ProviderUnavailable("DMark is in trouble (503).", 503), retries=retries))
    assert settled.status == Status.QUEUED
    assert least <= seconds(settled) <= most


def test_a_provider_out_of_reach_is_tried_soon_for_longer() -> None:
    """No response has come, so DMark has no copy. The retry is not delayed as after a 5xx."""
    assert 12 <= seconds(settle(failed(ProviderUnavailable("No connection."), retries=3))) <= 16


def test_a_retry_after_is_kept() -> None:
    assert seconds(settle(failed(ProviderUnavailable("DMark limits the rate (429).", 429, 90.0)))) == 90


def test_never_later_than_it_expires() -> None:
    outcome = failed(ProviderUnavailable("DMark limits the rate (429).", 429, 90.0))
    outcome.message.expires_at = NOW + timedelta(seconds=20)
    assert seconds(settle(outcome)) == 20


def test_the_rate_limit_is_waited_for() -> None:
    settled = settle(failed(RateLimited(17.0), status=Status.RATE_LIMITED, sends=0))
    assert (settled.status, seconds(settled)) == (Status.QUEUED, 17)


@pytest.mark.parametrize(
    "reason",
    [AuthenticationFailed("no", 401), Misdirected("a redirect", 302), AccountRefused("Insufficient credit.", 400)],
)
def test_what_is_not_the_texts_fault_goes_back_as_it_was(reason: SmsError) -> None:
    settled = settle(failed(reason, sends=0))
    assert (settled.status, settled.due_at) == (Status.QUEUED, None)


@pytest.mark.django_db
@pytest.mark.parametrize(("sends", "retries"), [(0, 0), (2, 1)])
def test_a_round_of_5xx_that_a_refused_token_ends_is_counted(sends: int, retries: int) -> None:
    """DMark may have the message after each 5xx. Before the fix, it got 14 such requests in ten minutes, not 12."""
    message = SmsMessage.objects.create(phone="+256772000001", text="x", status="sending", claim="a", expires_at=NOW)
    result = Result(message, Status.FAILED, NOW, AuthenticationFailed("no", 401), exchanges=[SEND] * sends)
    record([settle(result)])
    message.refresh_from_db()
    assert (message.status, message.retries) == ("queued", retries)


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (ProviderRejected("DMark refuses the text (400).", 400), Status.FAILED),
        (SmsError("It expired before it could be sent."), Status.EXPIRED),
        (SmsError("Internal error (KeyError); the log has more."), Status.FAILED),
        (None, Status.SENT),
    ],
)
def test_an_end_is_an_end(reason: SmsError | None, status: Status) -> None:
    settled = settle(failed(reason, status=status))
    assert (settled.status, settled.due_at) == (status, None)


AMBIGUOUS = Exchange("send", 1, None, "", "", "DMark did not answer in time.", 5, ambiguous=True)


@pytest.mark.parametrize(
    ("before", "status", "least", "most"),
    [(0, "queued", 0.1, 0.25), (1, "queued", 60, 60), (2, "queued", 300, 300), (3, "unknown", 0, 0)],
)
def test_a_text_in_doubt_is_asked_for_four_times_at_most(before: int, status: str, least: float, most: float) -> None:
    """Incidents elsewhere: alphagov/notifications-api#802, jookies/jasmin#657.

    A message that DMark may have is not sent again without limit.
    """
    outcome = failed(InDoubt("DMark did not answer in time."), status="unknown", ambiguous=before)
    outcome.exchanges = [AMBIGUOUS]
    settled = settle(outcome)
    assert (settled.status, settled.ambiguous_requests) == (status, before + 1)
    if status == "queued":
        assert least <= seconds(settled) <= most
    else:
        assert settled.due_at is None


def test_a_text_in_doubt_that_fails_otherwise_never_reads_as_not_sent() -> None:
    message = SmsMessage(pk=1, ambiguous_requests=1, expires_at=NOW + timedelta(hours=1))
    refused = settle(conclude(message, ProviderRejected("DMark refuses the text (400)."), [SEND]))
    assert refused.status == "unknown"
    assert refused.error == (
        "DMark may have the message: it was sent once without a complete answer. DMark refuses the text (400)."
    )
    waiting = settle(conclude(message, ProviderUnavailable("DMark is in trouble (503).", 503), [SEND]))
    assert (waiting.status, waiting.ambiguous_requests) == ("queued", 1)


@pytest.mark.django_db
@pytest.mark.parametrize("status", [Status.SENT, Status.FAILED])
def test_a_result_is_stored_once_if_the_answer_of_the_database_was_lost(status: Status) -> None:
    """Before the fix, its requests were counted and listed twice."""
    message = SmsMessage.objects.create(phone="+256772123456", text="x", status="sending", claim="me", expires_at=NOW)
    result = Result(message, status, NOW, None, exchanges=[SEND] * 3)
    record([result])
    record([result])
    assert SmsMessage.objects.values_list("status", "attempts").get() == (status, 3)
    assert message.events.count() == 3
