"""One try to hand one text to DMark, and what came of it. Touches the cache and the network, never the database."""

import logging
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from django.conf import settings
from django.core.signing import Signer
from django.urls import NoReverseMatch, get_script_prefix, reverse
from django.utils import timezone

from sms import conf, dmark, throttle
from sms.dmark import Exchange
from sms.errors import RateLimited, SmsDisabled, SmsError
from sms.models import SmsMessage, Status
from sms.phone import to_local
from sms.redaction import mask_phone

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
            provider_id = dmark.send(
                to_local(message.phone), message.text, dlr_url(message.pk, config), note, config, remember=remember
            )
        except BaseException:
            throttle.release(message.phone, message.kind, message.pk)
            raise
    except RateLimited as error:
        status, reason = Status.RATE_LIMITED, error
        logger.warning("sms.rate_limited", extra=_fields(message, "sms.rate_limited"))
    except SmsDisabled as error:
        status, reason = Status.DISABLED, error
    except SmsError as error:
        status, reason = Status.FAILED, error
    # Whatever it was, the text needs an end that an operator can see.
    except Exception as error:
        logger.exception("sms.broken", extra=_fields(message, "sms.broken"))
        status, reason = Status.FAILED, SmsError(f"Internal error ({type(error).__name__}); the log has more.")
    return Outcome(message, status, timezone.now(), reason, provider_id, exchanges=exchanges)


def _expired(message: SmsMessage) -> Outcome:
    last = f" Last reason: {message.error}" if message.error else ""
    logger.error("sms.expired", extra=_fields(message, "sms.expired"))
    return Outcome(message, Status.EXPIRED, timezone.now(), SmsError(f"It expired before it could be sent.{last}"))


def dlr_url(message_id: int, config: conf.Config | None = None) -> str:
    """Where DMark is to report on this message; "" where reports are off or have no address."""
    config = config or conf.current()
    if not config.dlr_enabled or not config.site_url:
        return ""
    urlconf = getattr(settings, "ROOT_URLCONF", "")
    path = _report_path(urlconf, get_script_prefix()) if urlconf else ""
    return config.site_url + path.replace(_PLACE, signer().sign(str(message_id))) if path else ""


_PLACE = "SIGNED-ID"


@lru_cache(maxsize=8)
def _report_path(urlconf: str, prefix: str) -> str:
    """The report's path with a place for the signed id; "" where `sms.urls` is not mounted."""
    try:
        return reverse("sms:dlr", urlconf=urlconf, args=[_PLACE])
    except NoReverseMatch:
        return ""


def signer() -> Signer:
    return Signer(sep=".", salt="sms.dlr")


def _fields(message: SmsMessage, event: str) -> dict[str, object]:
    return {
        "event": event,
        "message_id": message.pk,
        "kind": message.kind,
        "phone": mask_phone(message.phone),
    }


def log_exchange(message: SmsMessage, exchange: Exchange) -> None:
    """One line a request: error where it failed, else info; none for a token that came."""
    if exchange.step == "token" and not exchange.error:
        return
    name = f"sms.{exchange.step}"
    fields = _fields(message, name) | {
        "attempt": exchange.attempt,
        "http_status": exchange.status,
        "provider_id": exchange.provider_id,
        "answer": exchange.answer,
        "ms": exchange.ms,
    }
    if exchange.error:
        logger.error("%s failed: %s", name, exchange.error, extra=fields)
    else:
        logger.info(name, extra=fields)
