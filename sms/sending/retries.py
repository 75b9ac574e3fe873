"""What becomes of a failed try where somebody tries later: back to the queue, or the end."""

import random
from dataclasses import replace
from datetime import timedelta

from sms.errors import InDoubt, ProviderError, ProviderUnavailable, RateLimited, Trouble
from sms.models import Status
from sms.sending.attempt import Outcome

LONGEST_DELAY = 120.0
# Seconds until a text in doubt is asked for again, after its first, second and third request of that kind; after the
# fourth it ends. DMark knows no idempotency key, so each of these may be one more copy on the phone.
DOUBT_DELAYS = ((0.10, 0.25), (60.0, 60.0), (300.0, 300.0))


def delay(retries: int) -> float:
    """Seconds until the next try after `retries` earlier ones: 2, 4, 8 … 120, jittered."""
    return float(min(2.0 ** (min(retries, 10) + 1), LONGEST_DELAY) * random.uniform(0.75, 1.0))  # noqa: S311


def pauses_all(reason: object) -> bool:
    """Whether a failure is the fault of the credentials or the account: no text is to blame, and none will pass."""
    return isinstance(reason, ProviderError) and reason.trouble in (Trouble.CREDENTIALS, Trouble.ACCOUNT)


def settle(outcome: Outcome) -> Outcome:
    """A failure as the worker takes it: what may pass later goes back to the queue."""
    message, reason = outcome.message, outcome.reason
    if pauses_all(reason):
        return replace(outcome, status=Status.QUEUED)
    if isinstance(reason, RateLimited):
        wait = reason.retry_after
    elif isinstance(reason, InDoubt):
        if outcome.doubts > len(DOUBT_DELAYS):
            return outcome
        wait = random.uniform(*DOUBT_DELAYS[max(outcome.doubts, 1) - 1])  # noqa: S311
    elif isinstance(reason, ProviderUnavailable):
        wait = max(delay(message.retries), reason.retry_after or 0.0)
    else:
        return outcome
    due_at = min(outcome.at + timedelta(seconds=wait), message.expires_at)
    return replace(outcome, status=Status.QUEUED, due_at=due_at)
