"""The result of an attempt to send one message to DMark. This module does not depend on an HTTP library."""

import logging
from dataclasses import dataclass, field
from datetime import datetime

from sms import clock, conf
from sms.conf import PROVIDER
from sms.dmark import conversation
from sms.dmark.conversation import Budget, Conversation, OnExchange
from sms.dmark.dlr_url import dlr_url
from sms.dmark.exchange import Exchange, facts, fields
from sms.errors import NotDmarks, RateLimited, SmsDisabled, SmsError
from sms.models import Status
from sms.sending.claims import ClaimedMessage
from sms.text.phone import to_local

logger = logging.getLogger("sms.delivery")


@dataclass(slots=True)
class Result:
    """The result of one attempt to send a message.

    `reason`: why the message was not sent. `due_at`: time of the retry, or None.
    """

    message: ClaimedMessage
    status: Status
    at: datetime
    reason: SmsError | None = None
    provider_id: str = ""
    due_at: datetime | None = None
    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def sends(self) -> int:
        return sum(exchange.step == "send" for exchange in self.exchanges)

    @property
    def ambiguous_requests(self) -> int:
        """The number of send requests with an unknown outcome for this message, in this attempt and earlier ones."""
        return self.message.ambiguous_requests + sum(exchange.ambiguous for exchange in self.exchanges)

    @property
    def error(self) -> str:
        """The explanation that is stored in the message's row: one or two sentences."""
        reason = str(self.reason or self.message.error)
        if self.status != Status.UNKNOWN or isinstance(self.reason, NotDmarks):
            return reason
        times = "once" if self.ambiguous_requests == 1 else f"{self.ambiguous_requests} times"
        return f"{PROVIDER} may have the message: it was sent {times} without a complete answer. {reason}"

    @property
    def frees_rate_limit(self) -> bool:
        """True if the phone certainly did not get the message. Its rate-limit key is then deleted."""
        return self.status != Status.SENT and not isinstance(self.reason, RateLimited) and not self.ambiguous_requests


def send_conversation(
    message: ClaimedMessage, config: conf.Config, on_exchange: OnExchange, budget: Budget | None = None
) -> Conversation[str]:
    """Return a conversation (a generator of commands) that sends this message to DMark."""
    return conversation.send(
        config,
        to_local(message.phone),
        message.text,
        dlr_url(message.pk, config),
        on_exchange,
        kind=message.kind,
        budget=budget,
    )


def conclude(message: ClaimedMessage, ending: str | Exception, exchanges: list[Exchange]) -> Result:
    """Return the result of a conversation. `ending`: DMark's id of the message, or the exception that ended it.

    This function runs no query. It returns every failure as final. `retries.settle` can turn a failure into a retry.
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
