"""Interpret DMarkPay's responses, without I/O.

DMarkPay has no public documentation. The facts here come from a program that works with DMarkPay.
"""

import json
import math
from dataclasses import replace
from typing import Any, NamedTuple

from payments import providers
from payments.models import Payment
from payments.providers import Answer, Said

MAX_KEPT = 500
LONGEST_TTL = 30 * 86400

_SAID = {
    Payment.Status.SUCCESS: Said.SUCCESS,
    Payment.Status.FAILED: Said.FAILED,
    Payment.Status.PENDING: Said.PENDING,
}
# HTTP statuses that concern the token or the request rate, not the transaction. DMarkPay did not accept the request.
_NOT_TAKEN = (401, 403, 425, 429)
_NOT_DMARKPAYS = "Something other than DMarkPay answered"


class Token(NamedTuple):
    """An access token. `seconds`: how long the token may be cached."""

    value: str
    seconds: int


def read_token(status: int, body: bytes) -> Token | str:
    """Return the token from the response. If there is no usable token, return a sentence that says why."""
    data = _object(body)
    if status in (400, 401, 403):
        return (
            f"DMarkPay refuses the credentials ({status}): check DMARK_PAY_USERNAME, DMARK_PAY_PASSWORD and "
            "DMARK_PAY_TOKEN_URL."
        )
    token = data.get("access_token")
    # The token becomes part of an HTTP header, so it may only have printable ASCII characters.
    fit = isinstance(token, str) and 0 < len(token) <= 8192 and token.isascii() and token.isprintable()
    if status >= 300 or not fit:
        return f"DMarkPay's response has no token ({status})."
    expires = data.get("expires_in")
    if isinstance(expires, str) and expires.strip().isascii() and expires.strip().isdigit():
        expires = int(expires.strip()[:12])
    # Check the range before the multiplication, because a JSON integer may be too large for a float.
    if isinstance(expires, bool) or not isinstance(expires, int | float) or not 0 < expires < 10**18:
        expires = 0
    return Token(str(token), min(math.floor(0.9 * expires), LONGEST_TTL))


def read_collect(status: int, body: bytes, reference: str) -> Answer:
    """Interpret the response to a payin (payment request) with our `reference`.

    A 408, 409 or 5xx response is ambiguous: it does not show whether DMarkPay accepted the request.
    """
    answer = _read(status, body)
    if status in _NOT_TAKEN:
        return _as(answer, Said.NOT_TAKEN, f"DMarkPay refused the request ({status})")
    if answer.ours not in ("", reference):
        # The id in this response belongs to another transaction, so it must not be used to poll our transaction.
        return Answer(Said.IN_DOUBT, "", "", "The response was about another transaction.", status, answer.text)
    if 400 <= status < 500 and status not in (408, 409):
        return _as(answer, Said.FAILED, "")
    if status >= 400:
        return _as(answer, Said.IN_DOUBT, f"DMarkPay has a problem ({status})" if status >= 500 else "")
    return replace(answer, said=Said.IN_DOUBT) if answer.said is Said.OTHER else answer


def read_payout(status: int, body: bytes, reference: str) -> Answer:
    """Interpret the response to a payout request. "Pending" is unexpected and counts as ambiguous.

    We assume that the response has the format of a response to a payin, and contains a final status.
    """
    answer = read_collect(status, body, reference)
    return _as(answer, Said.IN_DOUBT, "DMarkPay reports it as pending") if answer.said is Said.PENDING else answer


def read_status(status: int, body: bytes) -> Answer:
    """Interpret the response to a status poll. IN_DOUBT means that the response says nothing about the transaction."""
    answer = _read(status, body)
    if status == 404:
        return _as(answer, Said.UNKNOWN, "DMarkPay does not know this transaction")
    if not 200 <= status < 300:
        return _as(answer, Said.IN_DOUBT, f"DMarkPay gave no status ({status})")
    # A response with an unknown status word, no id and no reference is perhaps not about a transaction at all.
    if answer.said is Said.OTHER and not (answer.ours or answer.provider_id):
        return replace(answer, said=Said.IN_DOUBT)
    return answer


def _read(status: int, body: bytes) -> Answer:
    data = _object(body)
    word = data.get("status")
    meaning = providers.status_of(word)
    shown = providers.printable(word.strip(), 40) if isinstance(word, str) else ""
    message = data.get("message")
    said = _SAID[meaning] if meaning else Said.OTHER if shown else Said.IN_DOUBT
    if isinstance(message, str) and message.strip():
        sentence = providers.printable(message.strip(), 200)
    elif meaning:
        sentence = ""
    else:
        sentence = f"DMarkPay reports the status {shown}" if shown else f"{_NOT_DMARKPAYS} ({status})"
    return Answer(
        said,
        provider_id=identifier(data.get("transaction_id")),
        ours=identifier(data.get("sp_transaction_id")),
        words=sentence,
        http_status=status,
        text=kept(body),
        word=shown,
    )


def _as(answer: Answer, said: Said, otherwise: str) -> Answer:
    """Return a copy of `answer` with the meaning `said`.

    `otherwise`: the sentence for the operator if DMarkPay sent none.
    """
    own = "" if answer.words.startswith((_NOT_DMARKPAYS, "DMarkPay reports the status")) else answer.words
    return replace(answer, said=said, words=own or otherwise or answer.words)


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def identifier(value: object) -> str:
    """Return an id as text. Return "" unless it is a whole number or printable ASCII text of at most 100 characters."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    text = str(value).strip() if isinstance(value, str) or abs(value) < 10**100 else ""
    return text if len(text) <= 100 and text.isprintable() and text.isascii() else ""


def kept(body: bytes) -> str:
    """Return the start of a response body as printable text, for storage and for operators."""
    return providers.printable(body[: 4 * MAX_KEPT].decode("utf-8", "replace"), MAX_KEPT)
