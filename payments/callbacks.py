"""Callbacks: stored word for word before they are judged."""

import json
import logging
from urllib.parse import parse_qsl

from payments import clock, settlement, words
from payments.models import Callback, Payment
from payments.providers.dmarkpay import responses as dmarkpay

logger = logging.getLogger("payments")

# Of one payment so many notices are kept; whoever sends more has a loop.
MOST_NOTICES = 200


def text_of(body: bytes) -> str:
    """The body as it came; what is no UTF-8, and NUL, which PostgreSQL refuses, stand as `\\x..`."""
    return body.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def store(body: bytes) -> Callback:
    """A callback with a valid proof, before anything is read in it."""
    return Callback.objects.create(received_at=clock.now(), body=text_of(body))


def take(callback: Callback, payment: Payment, said: Payment.Status) -> None:
    """A callback that is about this payment, with its amount and phone."""
    settlement.callback(callback, payment, said)


def refuse(callback: Callback, code: int, why: str) -> None:
    """What we cannot book or cannot read: money may be behind it, for an operator to find."""
    callback.answered, callback.refusal = code, why[:200]
    callback.save(update_fields=["payment", "status", "answered", "refusal"])
    logger.warning(
        "A callback was refused (%s): %s", code, why, extra={"event": "payments.refused", "callback": callback.pk}
    )


def notice(payment_id: int, body: bytes) -> bool:
    """What came to a payment's own address: kept, believed in nothing, a reason to ask. False: no such payment."""
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
    """The status word and the provider's id in JSON or a form; "" for what cannot be read."""
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
