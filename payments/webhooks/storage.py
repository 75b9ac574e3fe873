"""Callbacks and notifications are stored as received, before they are validated."""

import json
import logging
from urllib.parse import parse_qsl

from payments import clock, settlement, words
from payments.models import Callback, Payment
from payments.providers.dmarkpay import responses as dmarkpay

logger = logging.getLogger("payments")

# Stored notifications of one payment. A sender of more has a loop.
MOST_NOTICES = 200


def text_of(body: bytes) -> str:
    """Return the body as text. Bytes that are not UTF-8, and NUL, which PostgreSQL refuses, become `\\x..`."""
    return body.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def store(body: bytes) -> Callback:
    """Store an authenticated callback before it is parsed."""
    return Callback.objects.create(received_at=clock.now(), body=text_of(body))


def refuse(callback: Callback, code: int, why: str) -> None:
    """Mark a callback that cannot be booked or read. An operator checks it, because money may belong to it."""
    callback.answered, callback.refusal = code, why[:200]
    callback.save(update_fields=["payment", "status", "answered", "refusal"])
    logger.warning(
        "A callback was refused (%s): %s", code, why, extra={"event": "payments.refused", "callback": callback.pk}
    )


def notice(payment_id: int, body: bytes) -> bool:
    """Store a notification and have the payment polled. Nothing in it is trusted. False: unknown payment."""
    if not Payment.objects.filter(pk=payment_id).exists():
        return False
    stored = None
    kept = Callback.objects.filter(payment_id=payment_id, source=Callback.Source.DMARKPAY).count()
    if kept < MOST_NOTICES:
        status, provider_id = read_notice(body)
        stored = Callback.objects.create(
            payment_id=payment_id,
            source=Callback.Source.DMARKPAY,
            received_at=clock.now(),
            status=status,
            provider_id=provider_id,
            body=text_of(body),
            answered=200,
        )
    elif kept == MOST_NOTICES:
        logger.warning("payments.too_many_notices: more than %s of payment %s; no more are kept", kept, payment_id)
    settlement.notified(payment_id, stored, kept + 1)
    return True


def read_notice(body: bytes) -> tuple[str, str]:
    """Read the status word and the provider's id from JSON or a form. "" for an unreadable one."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = _form(body)
    if not isinstance(data, dict):
        return "", ""
    word = data.get("status")
    return words.printable(word, 100) if isinstance(word, str) else "", dmarkpay.identifier(data.get("transaction_id"))


def _form(body: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(body.decode("ascii"), max_num_fields=50))
    except ValueError:
        return {}
