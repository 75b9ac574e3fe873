"""`POST /api/v1/momo/callback`: what the mobile-money provider says of a payment."""

import hashlib
import hmac
from typing import Annotated, Any, Literal

import phonenumbers
from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare
from ninja import Router, Schema
from ninja.errors import HttpError
from pydantic import BeforeValidator, Field, WithJsonSchema

from payments.models import Payment
from payments.services import receive_callback, refuse_callback

router = Router(tags=["payments"])


def has_proof(request: HttpRequest) -> bool:
    """The shared secret itself, or the HMAC-SHA256 of the raw body with it; compared in constant time."""
    secret = settings.MOMO_CALLBACK_SECRET
    if not secret:
        return bool(settings.DEBUG)
    given = request.headers.get("X-Callback-Secret", "")
    signature = request.headers.get("X-Callback-Signature", "").strip().lower()
    expected = "sha256=" + hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()
    by_secret = constant_time_compare(given, secret)
    by_signature = constant_time_compare(signature, expected)
    return by_secret or by_signature


def proof(request: HttpRequest) -> bool:
    """Ninja's `auth`, which runs before the body is parsed."""
    if not has_proof(request):
        raise HttpError(403, "The callback has no valid proof: X-Callback-Secret or X-Callback-Signature.")
    return True


def _transaction_id(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("transaction_id must be the text that we gave.")
    return value


def _amount(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**12:
        raise ValueError("amount must be whole UGX: an integer or a string of digits.")
    return value


def _phone(value: object) -> str:
    """Any notation, as E.164; what is no number at all is malformed, what is another number a conflict."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or len(text) > 40 or not text.isprintable():
        raise ValueError("phone_number must be a phone number.")
    digits = text.strip()
    if digits.startswith("00"):  # the prefix that phones abroad dial; Uganda's own is another
        text = "+" + digits[2:]
    try:
        number = phonenumbers.parse(text, "UG")
    except phonenumbers.NumberParseException:
        raise ValueError("phone_number must be a phone number.") from None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _status(value: object) -> str:
    word = value.strip(" ").upper() if isinstance(value, str) else ""
    if word not in Payment.Status.values:
        raise ValueError("status must be SUCCESS, FAILED or PENDING.")
    return word


class CallbackIn(Schema):
    transaction_id: Annotated[str, BeforeValidator(_transaction_id), Field(min_length=1)]
    phone_number: Annotated[str, BeforeValidator(_phone), Field(description="In any notation")]
    amount: Annotated[
        int,
        BeforeValidator(_amount),
        WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+$"}]}),
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
    response={200: CallbackOut, **dict.fromkeys((400, 403, 404, 409, 413, 415), Refusal)},
    summary="What became of a payment",
)
def momo_callback(request: HttpRequest, body: CallbackIn) -> dict[str, str]:
    """Proof: `X-Callback-Secret`, or `X-Callback-Signature: sha256=<hex HMAC-SHA256 of the raw body>`."""
    raw = request.body.decode("utf-8", "replace").replace("\0", "")
    payment = Payment.objects.filter(transaction_id=body.transaction_id).first()
    code, refusal = 409, ""
    if payment is None:
        code, refusal = 404, "We know no such transaction."
    elif body.amount != payment.amount:
        refusal = "The amount is not that of this transaction."
    elif body.phone_number != payment.phone:
        refusal = "The phone number is not that of this transaction."
    if payment is None or refusal:
        refuse_callback(payment, body.status, raw, refusal)
        raise HttpError(code, refusal)
    receive_callback(payment, body.status, raw)
    return {"status": "received"}
