"""Decide if and when a failed attempt to send a message is retried.

Senders that read the queue again later use this module. An example is the worker.
"""

import random
from dataclasses import replace
from datetime import timedelta

from sms.errors import InDoubt, ProviderError, ProviderUnavailable, RateLimited, Trouble
from sms.models import Status
from sms.sending.attempt import Result

LONGEST_DELAY = 120.0
# Delays in seconds of the retries after the first, second and third ambiguous request. There is no fourth retry: DMark
# has no idempotency key, so each retry may put one more copy of the message on the phone.
AMBIGUOUS_DELAYS = ((0.10, 0.25), (60.0, 60.0), (300.0, 300.0))
MAX_AMBIGUOUS = len(AMBIGUOUS_DELAYS) + 1
# A provider may respond 5xx although it has accepted the message. Therefore, from the fourth failed attempt on, a 5xx
# delays the next retry by DELAY_AFTER_5XX seconds.
ROUNDS_OF_5XX, DELAY_AFTER_5XX = 4, 600.0


def delay(retries: int) -> float:
    """Return the seconds until the next attempt: 2, 4, 8 … 120 after 0, 1, 2 … earlier retries.

    The result is up to 25% shorter, at random.
    """
    return float(min(2.0 ** (min(retries, 10) + 1), LONGEST_DELAY) * random.uniform(0.75, 1.0))  # noqa: S311


def pauses_all(reason: object) -> bool:
    """Return True if DMark refuses the credentials or the account. No message can be sent then."""
    return isinstance(reason, ProviderError) and reason.trouble in (Trouble.CREDENTIALS, Trouble.ACCOUNT)


def settle(result: Result) -> Result:
    """Return the result with the status `queued` if the message is to be retried. Otherwise return it unchanged."""
    message, reason = result.message, result.reason
    if pauses_all(reason):
        return replace(result, status=Status.QUEUED)
    if isinstance(reason, RateLimited):
        wait = reason.retry_after
    elif isinstance(reason, InDoubt):
        if result.ambiguous_requests >= MAX_AMBIGUOUS:
            return result
        wait = random.uniform(*AMBIGUOUS_DELAYS[max(result.ambiguous_requests, 1) - 1])  # noqa: S311
    elif isinstance(reason, ProviderUnavailable):
        slow = (reason.status_code or 0) >= 500 and message.retries + 1 >= ROUNDS_OF_5XX
        wait = max(DELAY_AFTER_5XX if slow else delay(message.retries), reason.retry_after or 0.0)
    else:
        return result
    due_at = min(result.at + timedelta(seconds=wait), message.expires_at)
    return replace(result, status=Status.QUEUED, due_at=due_at)
