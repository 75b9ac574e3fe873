"""What becomes of a failed try where somebody tries later: back to the queue, or the end."""

import random
from dataclasses import replace
from datetime import timedelta

from sms.errors import AuthenticationFailed, ProviderRejected, ProviderUnavailable, RateLimited
from sms.models import Status
from sms.sending.attempt import Outcome

LONGEST_DELAY = 120.0


def token_refused(outcome: Outcome) -> bool:
    """The credentials or the address are at fault, not this text: DMark was not even asked to send it."""
    if isinstance(outcome.reason, AuthenticationFailed):
        return True
    return isinstance(outcome.reason, ProviderRejected) and outcome.sends == 0


def delay(retries: int) -> float:
    """Seconds until the next try after `retries` earlier ones: 2, 4, 8 … 120, jittered."""
    return float(min(2.0 ** (min(retries, 10) + 1), LONGEST_DELAY) * random.uniform(0.75, 1.0))  # noqa: S311


def settle(outcome: Outcome) -> Outcome:
    """A failure as the worker takes it: what may pass later goes back to the queue."""
    message, reason = outcome.message, outcome.reason
    if token_refused(outcome):
        return replace(outcome, status=Status.QUEUED)
    if isinstance(reason, RateLimited):
        wait = reason.retry_after
    elif isinstance(reason, ProviderUnavailable):
        wait = max(delay(message.retries), reason.retry_after or 0.0)
    else:
        return outcome
    due_at = min(outcome.at + timedelta(seconds=wait), message.expires_at)
    return replace(outcome, status=Status.QUEUED, due_at=due_at)
