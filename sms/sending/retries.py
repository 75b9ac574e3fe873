"""Decide if and when a failed attempt is retried.

This module is used by senders that process the queue again later, such as the worker.
"""

import random
from dataclasses import replace
from datetime import timedelta

from sms.errors import InDoubt, ProviderError, ProviderUnavailable, RateLimited, Trouble
from sms.models import Status
from sms.sending.attempt import Result

LONGEST_DELAY = 120.0
# Ranges of seconds until the retry after the first, second and third ambiguous request. There is no retry after the
# fourth: DMark has no idempotency key, so each retry may put one more copy on the phone.
AMBIGUOUS_DELAYS = ((0.10, 0.25), (60.0, 60.0), (300.0, 300.0))
MAX_AMBIGUOUS = len(AMBIGUOUS_DELAYS) + 1
# A provider may accept a message and still answer 5xx. Therefore a message that got 5xx in this many attempts is
# retried only after DELAY_AFTER_5XX seconds.
ROUNDS_OF_5XX, DELAY_AFTER_5XX = 4, 600.0


def delay(retries: int) -> float:
    """Return the seconds until the next attempt after `retries` earlier retries: 2, 4, 8 … 120, with jitter."""
    return float(min(2.0 ** (min(retries, 10) + 1), LONGEST_DELAY) * random.uniform(0.75, 1.0))  # noqa: S311


def pauses_all(reason: object) -> bool:
    """Return True if DMark refuses the credentials or the account, so that no message can be sent."""
    return isinstance(reason, ProviderError) and reason.trouble in (Trouble.CREDENTIALS, Trouble.ACCOUNT)


def settle(result: Result) -> Result:
    """Return the result with the status `queued` if the message is to be sent again, otherwise unchanged."""
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
