"""One request to DMark and what came back: as it is kept, and as it is logged."""

import logging
from dataclasses import dataclass
from typing import Protocol

from sms.text.redaction import mask_phone

logger = logging.getLogger("sms.delivery")


class Named(Protocol):
    """What a log line says of a message."""

    pk: int
    kind: str
    phone: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came back. `step`: token, send or report; `status`: HTTP's, None without an answer."""

    step: str
    attempt: int
    status: int | None
    provider_id: str
    answer: str
    error: str
    ms: int
    # What a failure means for the other texts: a value of `sms.errors.Trouble`.
    trouble: str = ""
    # It was written and not answered as DMark answers: the text may be on its way.
    ambiguous: bool = False


def fields(message: Named, event: str) -> dict[str, object]:
    return {
        "event": event,
        "message_id": message.pk,
        "kind": message.kind,
        "phone": mask_phone(message.phone),
    }


def facts(values: dict[str, object]) -> str:
    """What `fields` hold, as words: a log line says them also where nothing shows a record's extra fields."""
    return f"{values['message_id']} ({values['kind'] or 'plain'}) to {values['phone']}"


def log_exchange(message: Named, exchange: Exchange) -> None:
    """One line a request: error where it failed, else info; none for a token that came."""
    if exchange.step == "token" and not exchange.error:
        return
    name = f"sms.{exchange.step}"
    values = fields(message, name) | {
        "attempt": exchange.attempt,
        "http_status": exchange.status,
        "provider_id": exchange.provider_id,
        "answer": exchange.answer,
        "ms": exchange.ms,
    }
    status = exchange.status or "no answer"
    if exchange.error:
        logger.error("%s: %s failed, %s: %s", name, facts(values), status, exchange.error, extra=values)
    else:
        logger.info("%s: %s, %s, id %s", name, facts(values), status, exchange.provider_id or "none", extra=values)
