"""`POST /api/v1/momo/callback`: the party that collects the money reports the status of a payment."""

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Literal

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from ninja import Router, Schema
from ninja.decorators import decorate_view
from ninja.errors import HttpError
from pydantic import BeforeValidator, Field, WithJsonSchema

from payments import phones, providers, settlement
from payments.models import Callback, Payment
from payments.statements import Select
from payments.webhooks import storage

router = Router(tags=["payments"])
Handler = Callable[..., HttpResponse]
_BY_TRANSACTION = Select(lambda transaction: Payment.objects.filter(transaction_id=transaction))


def has_proof(request: HttpRequest) -> bool:
    """Return True if the request has a valid X-Callback-Secret or X-Callback-Signature header.

    The signature is the HMAC-SHA256 of the raw body with the shared secret as key. If no secret is configured, every
    request is accepted in DEBUG mode and none otherwise.
    """
    secrets = [secret for secret in (settings.MOMO_CALLBACK_SECRET, *settings.MOMO_CALLBACK_SECRET_FALLBACKS) if secret]
    if not secrets:
        return bool(settings.DEBUG)
    given = request.headers.get("X-Callback-Secret", "")
    signature = request.headers.get("X-Callback-Signature", "").strip().lower()
    # Every secret is compared in constant time, so that the duration reveals nothing about the secrets.
    found = [
        constant_time_compare(given, secret) | constant_time_compare(signature, _signature(secret, request.body))
        for secret in secrets
    ]
    return any(found)


def _signature(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def proof(request: HttpRequest) -> Callback:
    """Authenticate a callback and store it. Raises HttpError 403 without valid proof.

    Ninja calls `auth` functions before it parses the body, so a callback is stored even if its body is invalid.
    """
    if not has_proof(request):
        raise HttpError(403, "The callback has no valid proof: X-Callback-Secret or X-Callback-Signature.")
    callback = storage.store(request.body)
    request.callback = callback  # type: ignore[attr-defined]
    return callback


def kept(run: Handler) -> Handler:
    """Wrap the view to record every 4xx response on the stored callback, including those for malformed bodies."""

    @wraps(run)
    def kept_run(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = run(request, *args, **kwargs)
        callback = getattr(request, "callback", None)
        if callback is not None and 400 <= response.status_code < 500:
            storage.refuse(callback, response.status_code, json.loads(response.content)["error"])
        return response

    return kept_run


def _transaction_id(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("transaction_id must be the text that this service returned.")
    return value


_WHOLE = re.compile(r"[0-9]{1,12}(?:\.0{1,6})?", re.ASCII)


def _amount(value: object) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value.partition(".")[0])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**12:
        raise ValueError('amount must be whole UGX, as in 1000, "1000" or "1000.00".')
    return value


def _status(value: object) -> str:
    status = providers.status_of(value)
    if status is None:
        raise ValueError("status must be SUCCESS, FAILED or PENDING, or another word for one of them.")
    return status


class CallbackIn(Schema):
    transaction_id: Annotated[str, BeforeValidator(_transaction_id), Field(min_length=1)]
    phone_number: Annotated[str, BeforeValidator(phones.to_e164), Field(description="In any notation")]
    amount: Annotated[
        int,
        BeforeValidator(_amount),
        WithJsonSchema(
            {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]+(\.0+)?$"}]}
        ),
    ]
    status: Annotated[str, BeforeValidator(_status), Field(description="SUCCESS, FAILED or PENDING, in any case")]
    timestamp: Any = None


class CallbackOut(Schema):
    status: Literal["received"]


class Refusal(Schema):
    error: str
    fields: dict[str, str]


@router.post(
    "/momo/callback",
    auth=proof,
    response={200: CallbackOut, **dict.fromkeys((400, 403, 404, 409, 413, 415, 503), Refusal)},
    summary="The status of a payment",
)
@decorate_view(kept)
def momo_callback(request: HttpRequest, body: CallbackIn) -> dict[str, str]:
    """Report the status of a payment.

    The request must carry the header `X-Callback-Secret`, or `X-Callback-Signature: sha256=<hex HMAC-SHA256 of the raw
    body>`.
    """
    callback: Callback = request.callback  # type: ignore[attr-defined]
    callback.status = body.status
    payment = callback.payment = _BY_TRANSACTION.first(transaction=body.transaction_id)
    if payment is None:
        raise HttpError(404, "We know no such transaction.")
    if body.amount != payment.amount:
        raise HttpError(409, "The amount is not that of this transaction.")
    if body.phone_number != payment.phone:
        raise HttpError(409, "The phone number is not that of this transaction.")
    settlement.callback(callback, payment, Payment.Status(body.status))
    return {"status": "received"}
