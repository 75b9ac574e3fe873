"""HTTP requests that we receive about payments.

- `POST /api/v1/momo/callback`: a third party that collects the money reports the status of a payment.

- `POST|PUT /api/v1/momo/dmarkpay/<signed payment id>/`: a notification from DMarkPay. It only triggers a status poll.
"""

import hashlib
import hmac
import json
import logging
import re
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.signing import BadSignature
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.urls import path
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods
from ninja import Router
from ninja.decorators import decorate_view
from ninja.errors import HttpError
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from payments import database, journal, matches, phones, providers, status_polling
from payments.collection import signer
from payments.journal import Cause
from payments.models import Callback, Payment
from payments.providers.dmarkpay import responses as dmarkpay_responses
from payments.rules.states import Word
from payments.statements import Select, insert, update

logger = logging.getLogger("payments")

# Maximum number of stored notifications of one payment. A sender of more notifications is probably in a loop.
MOST_NOTICES = 200

router = Router(tags=["payments"])
Handler = Callable[..., HttpResponse]
_WORDS = {Payment.Status.SUCCESS.value: Word.SUCCESSFUL, Payment.Status.FAILED.value: Word.FAILED}
# Locks a PENDING payment that our provider does not collect. The payment is in no match yet, so no other is locked.
_PENDING = Select(
    lambda transaction: Payment.objects.select_for_update(no_key=True).filter(
        transaction_id=transaction, status=Payment.Status.PENDING, place="", provider=""
    )
)
_BY_TRANSACTION = Select(lambda transaction: Payment.objects.filter(transaction_id=transaction))


def has_proof(request: HttpRequest) -> bool:
    """Return True if the request has a valid X-Callback-Secret or X-Callback-Signature header.

    If no secret is configured, requests are accepted only in DEBUG mode.
    """
    secrets = [secret for secret in (settings.MOMO_CALLBACK_SECRET, *settings.MOMO_CALLBACK_SECRET_FALLBACKS) if secret]
    if not secrets:
        return bool(settings.DEBUG)
    given = request.headers.get("X-Callback-Secret", "")
    signature = request.headers.get("X-Callback-Signature", "").strip().lower()
    # All secrets are compared, in constant time, so that the duration reveals nothing about them.
    found = [
        constant_time_compare(given, secret) | constant_time_compare(signature, _signature(secret, request.body))
        for secret in secrets
    ]
    return any(found)


def _signature(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def text_of(body: bytes) -> str:
    r"""Return the body as text.

    Bytes that are not UTF-8 become `\x..`. A NUL byte is replaced too, because PostgreSQL refuses it.
    """
    return body.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def store(body: bytes) -> Callback:
    """Store an authenticated callback before it is parsed. Unlike this commit, a later one waits for the disk."""
    callback = Callback(received_at=database.now(), body=text_of(body))
    insert([callback], waits=False)
    return callback


def proof(request: HttpRequest) -> Callback:
    """Authenticate a callback and store it. Raises HttpError 403 without a valid secret or signature.

    Ninja calls this function before it parses the body, so a callback with an invalid body is stored too.
    """
    if not has_proof(request):
        raise HttpError(403, "The callback has no valid proof: X-Callback-Secret or X-Callback-Signature.")
    callback = store(request.body)
    request.callback = callback  # type: ignore[attr-defined]
    return callback


def refuse(callback: Callback, code: int, why: str) -> None:
    """Mark a stored callback as refused. Operators check refused callbacks, which may report money that was paid."""
    callback.answered, callback.refusal = code, why[:200]
    callback.save(update_fields=["payment", "status", "answered", "refusal"])
    logger.warning(
        "payments.refused: callback %s was refused (%s): %s",
        callback.pk,
        code,
        why,
        extra={"event": "payments.refused", "callback": callback.pk},
    )


def kept(run: Handler) -> Handler:
    """Wrap the view, so that every 4xx response is recorded on the stored callback, even for a malformed body."""

    @wraps(run)
    def kept_run(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = run(request, *args, **kwargs)
        callback = getattr(request, "callback", None)
        if callback is not None and 400 <= response.status_code < 500:
            refuse(callback, response.status_code, json.loads(response.content)["error"])
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


class CallbackIn(BaseModel):
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


class CallbackOut(BaseModel):
    status: Literal["received"]


class Refusal(BaseModel):
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
    # The commit of `_settle` need not wait for the disk, because the next commit, which saves the callback, waits.
    with database.commit_follows():
        payment, callback.applied = _settle(callback, body)
    callback.answered = 503 if payment.use_error else 200
    update(callback, ["payment", "status", "answered", "applied"])
    # The payment is settled, but a timeout or deadlock prevented the activation of its entry. A repeated callback or
    # `game_worker` activates the entry later.
    if payment.use_error is not None:
        raise payment.use_error
    return {"status": "received"}


def _settle(callback: Callback, body: CallbackIn) -> tuple[Payment, bool]:
    """Apply the status of a callback. Return the payment, and True if its status has changed.

    If this service requested the payment, the callback only triggers a poll. Raises HttpError if no payment matches.
    """
    with journal.writing():
        payment = _PENDING.first(transaction=body.transaction_id)
        if payment is not None:
            _check(callback, payment, body)
            journal.ensure_adopted(payment)
            return payment, _apply(callback, payment, body)
    payment = _check(callback, _BY_TRANSACTION.first(transaction=body.transaction_id), body)
    if payment.provider:
        status_polling.owe_answer(payment.pk, callback)
        return payment, False
    with journal.writing():
        payment = matches.locked(payment.pk).payment
        return payment, _apply(callback, payment, body)


def _check(callback: Callback, payment: Payment | None, body: CallbackIn) -> Payment:
    callback.payment = payment
    if payment is None:
        raise HttpError(404, "We know no such transaction.")
    if body.amount != payment.amount:
        raise HttpError(409, "The amount is not that of this transaction.")
    if body.phone_number != payment.phone:
        raise HttpError(409, "The phone number is not that of this transaction.")
    return payment


def _apply(callback: Callback, payment: Payment, body: CallbackIn) -> bool:
    before, word = payment.status, _WORDS.get(body.status)
    if word is not None:
        cause = Cause("callback", callback=callback)
        matches.take_word(payment, word, began=database.now(), polled=False, cause=cause)
    return payment.status != before


@csrf_exempt
@require_http_methods(["POST", "PUT"])
def dmarkpay(request: HttpRequest, signed_id: str) -> HttpResponse:
    """Store a notification and have the payment polled. A body in any format is accepted, up to 64 KiB."""
    try:
        payment_id = int(signer().unsign(signed_id))
    except (BadSignature, ValueError):
        return _refused(403, "This address is not signed by us.")
    try:
        body = request.body
    except RequestDataTooBig:
        return _refused(413, "The body is too large: at most 64 KiB.")
    except UnreadablePostError:
        logger.info(
            "payments.notice_cut_short: the body of a notification ended too early",
            extra={"event": "payments.notice_cut_short"},
        )
        return _refused(400, "The body ended too early.")
    if not notice(payment_id, body):
        return _refused(404, "This payment no longer exists.")
    return JsonResponse({"status": "received"})


def _refused(code: int, sentence: str) -> HttpResponse:
    return JsonResponse({"error": sentence, "fields": {}}, status=code)


def notice(payment_id: int, body: bytes) -> bool:
    """Store a notification and have the payment polled. Return False if the payment does not exist.

    The content is not trusted. Only the first 200 notifications of a payment are stored.
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
    """Return the status word and the provider's transaction id from a JSON or form body. Each is "" if unreadable."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = _form(body)
    if not isinstance(data, dict):
        return "", ""
    word = data.get("status")
    status = providers.printable(word, 100) if isinstance(word, str) else ""
    return status, dmarkpay_responses.identifier(data.get("transaction_id"))


def _form(body: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(body.decode("ascii"), max_num_fields=50))
    except ValueError:
        return {}


# These URLs are outside the JSON API, because the JSON API accepts only JSON.
app_name = "payments"
urlpatterns = [path("dmarkpay/<str:signed_id>/", dmarkpay, name="dmarkpay")]
