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


def fields(message: Named, event: str) -> dict[str, object]:
    return {
        "event": event,
        "message_id": message.pk,
        "kind": message.kind,
        "phone": mask_phone(message.phone),
    }


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
    if exchange.error:
        logger.error("%s failed: %s", name, exchange.error, extra=values)
    else:
        logger.info(name, extra=values)
