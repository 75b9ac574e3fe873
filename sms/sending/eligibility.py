"""May this text go now? Asked in one place, by whoever is about to send: its time, its app, the throttle."""

import logging
from collections.abc import Sequence

from sms import clock, conf, owners
from sms.dmark.exchange import facts, fields
from sms.errors import RateLimited, SmsError
from sms.models import Status
from sms.sending import rate_limit
from sms.sending.attempt import Outcome
from sms.sending.claims import Text

logger = logging.getLogger("sms.delivery")


def refused(messages: Sequence[Text], config: conf.Config, *, by_table: bool = False) -> dict[int, Outcome]:
    """Those that may not, by id, each with its outcome; the throttle's key of the others is taken.

    `by_table`: where the cache is out of reach the table tells who had a text a moment ago. Asks the cache and the
    database a handful of questions, however many texts.
    """
    now = clock.now()
    found = {message.pk: _expired(message) for message in messages if message.expires_at <= now}
    fresh = [message for message in messages if message.pk not in found]
    worth = owners.worth_sending(fresh)
    found |= {message.pk: _worthless(message) for message in fresh if message.pk not in worth}
    left = [message for message in fresh if message.pk in worth]
    waits = rate_limit.acquire_many(left, config.rate_limit, by_table=by_table)
    for message, wait in zip(left, waits, strict=True):
        if wait:
            _log(logging.WARNING, message, "sms.rate_limited")
            found[message.pk] = Outcome(message, Status.RATE_LIMITED, now, RateLimited(wait))
    return found


def _expired(message: Text) -> Outcome:
    _log(logging.ERROR, message, "sms.expired")
    return _over(message, "It expired before it could be sent.")


def _worthless(message: Text) -> Outcome:
    _log(logging.WARNING, message, "sms.not_worth_sending")
    return _over(message, "What it told of was over before it could be sent.")


def _over(message: Text, why: str) -> Outcome:
    last = f" Last reason: {message.error}" if message.error else ""
    status = Status.UNKNOWN if message.doubts else Status.EXPIRED
    return Outcome(message, status, clock.now(), SmsError(f"{why}{last}"))


def _log(level: int, message: Text, event: str) -> None:
    values = fields(message, event)
    logger.log(level, "%s: %s", event, facts(values), extra=values)
