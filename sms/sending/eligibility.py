"""Decide if a claimed message may be sent now.

The checks: expiry, number of ambiguous requests, rate limit, and whether the app that queued it still wants it sent.
"""

import logging
from collections.abc import Sequence

from sms import clock, conf, owners
from sms.dmark.exchange import facts, fields
from sms.errors import RateLimited, SmsError
from sms.models import Status
from sms.sending import rate_limit
from sms.sending.attempt import MAX_AMBIGUOUS, Result
from sms.sending.claims import ClaimedMessage

logger = logging.getLogger("sms.delivery")


def refused(messages: Sequence[ClaimedMessage], config: conf.Config, *, by_table: bool = False) -> dict[int, Result]:
    """Return a result, by message id, for each message that must not be sent now.

    For the other messages, this function stores rate-limit keys in the cache. `by_table`: if the cache is down, apply
    the rate limit with the message table.
    """
    now = clock.now()
    found: dict[int, Result] = {}

    def end(message: ClaimedMessage, event: str, why: str, level: int = logging.ERROR) -> None:
        _log(level, message, event)
        last = f" Last reason: {message.error}" if message.error else ""
        status = Status.UNKNOWN if message.ambiguous_requests else Status.EXPIRED
        found[message.pk] = Result(message, status, now, SmsError(f"{why}{last}"))

    for message in messages:
        if now >= message.expires_at:
            end(message, "sms.expired", "It expired before it could be sent.")
        elif message.ambiguous_requests >= MAX_AMBIGUOUS:
            end(message, "sms.given_up", "It is not sent again.")
    fresh = [message for message in messages if message.pk not in found]
    worth = owners.worth_sending(fresh)
    for message in fresh:
        if message.pk not in worth:
            end(message, "sms.not_worth_sending", "Its subject was over before it could be sent.", logging.WARNING)
    # Check the rate limit last. A message that passes gets a key, which could expire during a later slow check.
    left = [message for message in fresh if message.pk in worth]
    waits = rate_limit.acquire_many(left, config.rate_limit, by_table=by_table)
    for message, wait in zip(left, waits, strict=True):
        if wait:
            if not rate_limit.was_limited(message):
                _log(logging.WARNING, message, "sms.rate_limited")
            found[message.pk] = Result(message, Status.RATE_LIMITED, now, RateLimited(wait))
    return found


def _log(level: int, message: ClaimedMessage, event: str) -> None:
    values = fields(message, event)
    logger.log(level, "%s: %s", event, facts(values), extra=values)
