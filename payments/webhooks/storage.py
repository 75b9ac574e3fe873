"""Store callbacks and notifications as received, before they are validated."""

import json
import logging
from urllib.parse import parse_qsl

from payments import database, providers, status_polling
from payments.models import Callback, Payment
from payments.providers.dmarkpay import responses as dmarkpay
from payments.statements import insert

logger = logging.getLogger("payments")

# At most this many notifications of one payment are stored. A sender of more is probably in a loop.
MOST_NOTICES = 200


def text_of(body: bytes) -> str:
    """Return the body as text. Bytes that are not UTF-8 become `\\x..`, and so does NUL, which PostgreSQL refuses."""
    return body.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def store(body: bytes) -> Callback:
    """Store an authenticated callback before it is parsed.

    This does not wait for the disk. The caller commits another change before it answers, at least by `refuse`.
    """
    callback = Callback(received_at=database.now(), body=text_of(body))
    insert([callback], waits=False)
    return callback


def refuse(callback: Callback, code: int, why: str) -> None:
    """Mark a stored callback as refused, because it is invalid or matches no payment.

    An operator checks refused callbacks, because one may report money that was paid.
    """
    callback.answered, callback.refusal = code, why[:200]
    callback.save(update_fields=["payment", "status", "answered", "refusal"])
    logger.warning(
        "payments.refused: callback %s was refused (%s): %s",
        callback.pk,
        code,
        why,
        extra={"event": "payments.refused", "callback": callback.pk},
    )


def notice(payment_id: int, body: bytes) -> bool:
    """Store a notification and have the payment polled. Return False if the payment does not exist.

    The content of the notification is not trusted.
    """
    if not Payment.objects.filter(pk=payment_id).exists():
        return False
    stored = None
    kept = Callback.objects.filter(payment_id=payment_id, source=Callback.Source.DMARKPAY).count()
    if kept < MOST_NOTICES:
        status, provider_id = read_notice(body)
        stored = Callback.objects.create(
            payment_id=payment_id,
            source=Callback.Source.DMARKPAY,
            received_at=database.now(),
            status=status,
            provider_id=provider_id,
            body=text_of(body),
            answered=200,
        )
    elif kept == MOST_NOTICES:
        logger.warning(
            "payments.too_many_notices: payment %s has %s notifications, and no more are stored",
            payment_id,
            kept,
            extra={"event": "payments.too_many_notices", "payment": payment_id},
        )
    status_polling.owe_answer(payment_id, stored, kept + 1)
    return True


def read_notice(body: bytes) -> tuple[str, str]:
    """Return the status word and the provider's id from a JSON or form body. Each is "" if it cannot be read."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = _form(body)
    if not isinstance(data, dict):
        return "", ""
    word = data.get("status")
    status = providers.printable(word, 100) if isinstance(word, str) else ""
    return status, dmarkpay.identifier(data.get("transaction_id"))


def _form(body: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(body.decode("ascii"), max_num_fields=50))
    except ValueError:
        return {}
