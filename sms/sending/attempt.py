"""One try to hand one text to DMark, and what came of it. Touches the cache and the network, never the database."""

import logging
from dataclasses import dataclass, field
from datetime import datetime

from django.utils import timezone

from sms import conf
from sms.dmark import blocking
from sms.dmark.exchange import Exchange, facts, fields, log_exchange
from sms.dmark.report_address import dlr_url
from sms.errors import RateLimited, SmsDisabled, SmsError
from sms.models import SmsMessage, Status
from sms.sending import throttle
from sms.text.phone import to_local

logger = logging.getLogger("sms.delivery")


@dataclass(slots=True)
class Outcome:
    """What came of one try. `reason` is why it did not go out, `due_at` when to try again, if at all."""

    message: SmsMessage
    status: Status
    at: datetime
    reason: SmsError | None = None
    provider_id: str = ""
    due_at: datetime | None = None
    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def sends(self) -> int:
        return sum(exchange.step == "send" for exchange in self.exchanges)


def attempt(
    message: SmsMessage,
    config: conf.Config | None = None,
    *,
    remember: float = 0.0,
    log: bool = True,
    wait: float | None = None,
) -> Outcome:
    """Try once, quick retries included. A failure is returned as the end that it is where nobody tries later.

    Without `log` the caller logs the outcome's exchanges. `wait`: what the throttle said, if it was asked already.
    """
    exchanges: list[Exchange] = []

    def note(exchange: Exchange) -> None:
        exchanges.append(exchange)
        if log:
            log_exchange(message, exchange)

    config = config or conf.current()
    status, provider_id = Status.SENT, ""
    reason: SmsError | None = None
    try:
        if message.expires_at <= timezone.now():
            throttle.release(message.phone, message.kind, message.pk)
            return _expired(message)
        if wait is None:
            wait = throttle.acquire(message.phone, message.kind, message.pk, config.rate_limit)
        if wait:
            raise RateLimited(wait)
        try:
            provider_id = blocking.send(
                to_local(message.phone), message.text, dlr_url(message.pk, config), note, config, remember=remember
            )
        except BaseException:
            throttle.release(message.phone, message.kind, message.pk)
            raise
    except RateLimited as error:
        status, reason = Status.RATE_LIMITED, error
        values = fields(message, "sms.rate_limited")
        logger.warning("sms.rate_limited: %s", facts(values), extra=values)
    except SmsDisabled as error:
        status, reason = Status.DISABLED, error
    except SmsError as error:
        status, reason = Status.FAILED, error
    # Whatever it was, the text needs an end that an operator can see.
    except Exception as error:
        values = fields(message, "sms.broken")
        logger.exception("sms.broken: %s", facts(values), extra=values)
        status, reason = Status.FAILED, SmsError(f"Internal error ({type(error).__name__}); the log has more.")
    return Outcome(message, status, timezone.now(), reason, provider_id, exchanges=exchanges)


def _expired(message: SmsMessage) -> Outcome:
    last = f" Last reason: {message.error}" if message.error else ""
    values = fields(message, "sms.expired")
    logger.error("sms.expired: %s", facts(values), extra=values)
    return Outcome(message, Status.EXPIRED, timezone.now(), SmsError(f"It expired before it could be sent.{last}"))
