"""One try to hand one text to DMark, and what came of it; who talks to DMark, and how, is not known here."""

import logging
from dataclasses import dataclass, field
from datetime import datetime

from sms import clock, conf
from sms.dmark import conversation
from sms.dmark.conversation import Budget, Conversation, OnExchange
from sms.dmark.dlr_url import dlr_url
from sms.dmark.exchange import Exchange, facts, fields
from sms.errors import NotDmarks, RateLimited, SmsDisabled, SmsError
from sms.models import Status
from sms.sending.claims import Text
from sms.text.phone import to_local

logger = logging.getLogger("sms.delivery")


@dataclass(slots=True)
class Outcome:
    """What came of one try. `reason` is why it did not go out, `due_at` when to try again, if at all."""

    message: Text
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
    def doubts(self) -> int:
        """The text's requests in doubt, former tries included."""
        return self.message.doubts + sum(exchange.ambiguous for exchange in self.exchanges)

    @property
    def error(self) -> str:
        """What the row keeps: one sentence or two."""
        said = str(self.reason or self.message.error)
        if self.status != Status.UNKNOWN or isinstance(self.reason, NotDmarks):
            return said
        times = "once" if self.doubts == 1 else f"{self.doubts} times"
        return f"DMark may have the text: it was asked {times} without a whole answer. {said}"

    @property
    def frees_throttle(self) -> bool:
        """Whether the phone surely has nothing of it, so that its throttle's key is given back."""
        return self.status != Status.SENT and not isinstance(self.reason, RateLimited) and not self.doubts


def opening(message: Text, config: conf.Config, note: OnExchange, budget: Budget | None = None) -> Conversation[str]:
    """The conversation that hands this text to DMark."""
    return conversation.send(
        config,
        to_local(message.phone),
        message.text,
        dlr_url(message.pk, config),
        note,
        kind=message.kind,
        budget=budget,
    )


def conclude(message: Text, result: str | Exception, exchanges: list[Exchange]) -> Outcome:
    """What a conversation's end means: DMark's id, or what it raised. A failure is the end that it is where nobody
    tries later. Asks no database."""
    at = clock.now(ask=False)
    if isinstance(result, str):
        return Outcome(message, Status.SENT, at, None, result, exchanges=exchanges)
    if not isinstance(result, SmsError):
        values = fields(message, "sms.broken")
        logger.error("sms.broken: %s", facts(values), exc_info=result, extra=values)
        result = SmsError(f"Internal error ({type(result).__name__}); the log has more.")
    outcome = Outcome(message, Status.FAILED, at, result, exchanges=exchanges)
    if outcome.doubts:
        outcome.status = Status.UNKNOWN
    elif isinstance(result, SmsDisabled):
        outcome.status = Status.DISABLED
    return outcome
