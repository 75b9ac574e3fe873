"""Determine the result of an attempt to send one message to DMark, and decide about a retry. Needs no HTTP library."""

import logging
import random
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sms import clock, conf
from sms.conf import PROVIDER
from sms.dmark import conversation
from sms.dmark.conversation import Budget, Conversation, OnExchange
from sms.dmark.dlr_url import dlr_url
from sms.dmark.exchange import Exchange, facts, fields
from sms.errors import (
    InDoubt,
    NotDmarks,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    SmsDisabled,
    SmsError,
    Trouble,
)
from sms.models import Status
from sms.sending.claims import ClaimedMessage
from sms.text.phone import to_local

logger = logging.getLogger("sms.delivery")

LONGEST_DELAY = 120.0
# Shortest and longest delay in seconds before each retry after an ambiguous request (DMark may have the message). The
# number of retries is limited, because each one may deliver another copy of the message.
AMBIGUOUS_DELAYS = ((0.10, 0.25), (60.0, 60.0), (300.0, 300.0))
MAX_AMBIGUOUS = len(AMBIGUOUS_DELAYS) + 1
# If the fourth or a later attempt fails with a 5xx (not 504), wait at least 600 s: DMark may have the message.
ROUNDS_OF_5XX, DELAY_AFTER_5XX = 4, 600.0


@dataclass(slots=True)
class Result:
    """The result of one attempt. `reason`: the error, if any. `due_at`: new due time, or None to keep the old one."""

    message: ClaimedMessage
    status: Status
    at: datetime
    reason: SmsError | None = None
    provider_id: str = ""
    due_at: datetime | None = None
    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def ambiguous_requests(self) -> int:
        """The number of send requests with an unknown outcome for this message, in this attempt and earlier ones."""
        return self.message.ambiguous_requests + sum(exchange.ambiguous for exchange in self.exchanges)

    @property
    def error(self) -> str:
        """The error text for operators. It is stored in the message's row unless the message was sent."""
        reason = str(self.reason or self.message.error)
        if self.status != Status.UNKNOWN or isinstance(self.reason, NotDmarks):
            return reason
        times = "once" if self.ambiguous_requests == 1 else f"{self.ambiguous_requests} times"
        return f"{PROVIDER} may have the message: it was sent {times} without a complete answer. {reason}"

    @property
    def frees_rate_limit(self) -> bool:
        """True if the rate-limit key must be deleted: sending failed, and no send request had an unknown outcome."""
        return self.status != Status.SENT and not isinstance(self.reason, RateLimited) and not self.ambiguous_requests


def send_conversation(
    message: ClaimedMessage, config: conf.Config, on_exchange: OnExchange, budget: Budget | None = None
) -> Conversation[str]:
    """Return a conversation (a generator of commands) that sends this message to DMark."""
    number, url = to_local(message.phone), dlr_url(message.pk, config)
    return conversation.send(config, number, message.text, url, on_exchange, kind=message.kind, budget=budget)


def conclude(message: ClaimedMessage, ending: str | Exception, exchanges: list[Exchange]) -> Result:
    """Return the result of a conversation. `settle` may turn a failure into a retry.

    `ending`: DMark's id of the message, or the exception that ended the conversation.
    """
    at = clock.now(ask=False)
    if isinstance(ending, str):
        return Result(message, Status.SENT, at, None, ending, exchanges=exchanges)
    if not isinstance(ending, SmsError):
        values = fields(message, "sms.broken")
        logger.error("sms.broken: %s", facts(values), exc_info=ending, extra=values)
        ending = SmsError(f"Internal error ({type(ending).__name__}); the log has more.")
    result = Result(message, Status.FAILED, at, ending, exchanges=exchanges)
    if result.ambiguous_requests:
        result.status = Status.UNKNOWN
    elif isinstance(ending, SmsDisabled):
        result.status = Status.DISABLED
    return result


def delay(retries: int) -> float:
    """Return the seconds until the next attempt: 2, doubled after each retry, at most 120, less a random 0 to 25%."""
    return float(min(2.0 ** (min(retries, 10) + 1), LONGEST_DELAY) * random.uniform(0.75, 1.0))  # noqa: S311


def pauses_all(reason: object) -> bool:
    """Return True if `reason` stops all messages: the account is refused, or the credentials or the URL are wrong."""
    return isinstance(reason, ProviderError) and reason.trouble in (Trouble.CREDENTIALS, Trouble.ACCOUNT)


def settle(result: Result) -> Result:
    """Return `result` with the status `queued` if its message is to be sent again. Otherwise return it unchanged."""
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
