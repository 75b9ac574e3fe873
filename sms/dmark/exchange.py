"""A request to DMark with its response, as stored in the history of a message and in the log."""

import logging
from dataclasses import dataclass
from typing import Protocol

from sms.text.redaction import mask_phone

logger = logging.getLogger("sms.delivery")


class Named(Protocol):
    """A message, or another object with the fields that identify a message in the log."""

    pk: int
    kind: str
    phone: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request to DMark with its response.

    `step`: token, send or report. `status`: as in `Reply`, or None if there was no complete response. `ambiguous`: the
    request failed, but DMark may have the message.
    """

    step: str
    attempt: int
    status: int | None
    provider_id: str
    answer: str
    error: str
    ms: int
    trouble: str = ""
    ambiguous: bool = False


def fields(message: Named, event: str) -> dict[str, object]:
    """Return the `extra` fields of a log record about a message."""
    return {
        "event": event,
        "message_id": message.pk,
        "kind": message.kind,
        "phone": mask_phone(message.phone),
    }


def facts(values: dict[str, object]) -> str:
    """Format the result of `fields` as text, for log formats that do not show `extra`."""
    return f"{values['message_id']} ({values['kind'] or 'plain'}) to {values['phone']}"


def log_exchange(message: Named, exchange: Exchange) -> None:
    """Log a failed request at level error, and a successful send or report request at level info.

    A successful token request is not logged.
    """
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
    status = exchange.status or "no response"
    if exchange.error:
        logger.error("%s: %s failed, %s: %s", name, facts(values), status, exchange.error, extra=values)
    else:
        logger.info("%s: %s, %s, id %s", name, facts(values), status, exchange.provider_id or "none", extra=values)
