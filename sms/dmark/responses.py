"""The reading of DMark's answers: what each means, whatever its shape. Knows no HTTP library and no database."""

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from sms.errors import (
    AccountRefused,
    AuthenticationFailed,
    InDoubt,
    Misdirected,
    NotDmarks,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    Trouble,
)
from sms.text.redaction import redact

MAX_KEPT = 500
MAX_BODY = 64 * 1024


class Reply(NamedTuple):
    """An answer as read: the status that counts, the body's object (None if it is no JSON object), the text kept.

    `ms`: milliseconds that it took.
    """

    status: int
    data: dict[str, Any] | None
    text: str
    retry_after: float | None
    ms: int = 0


class StaleToken(ProviderError):
    """401 or 403 on anything but the token itself."""

    # Where a fresh one passes, that is the newer event.
    trouble = Trouble.CREDENTIALS


def clean(text: str) -> str:
    """Without what PostgreSQL or a terminal refuses: NUL, other control characters, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(
        char if (char.isprintable() or char in "\n\t") and not "\ud800" <= char <= "\udfff" else "\ufffd"
        for char in text
    )


def read(status: int, body: bytes, retry_after: str | None, ms: int = 0) -> Reply:
    """`retry_after`: the header as it came."""
    body = _unpacked(body)
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        data = None
    stated = _whole((data or {}).get("status_code"))
    return Reply(
        status=stated if stated is not None and stated >= 400 else status,
        data=data,
        text=clean(body[: 4 * MAX_KEPT].decode("utf-8", "replace"))[:MAX_KEPT],
        retry_after=_seconds(retry_after),
        ms=ms,
    )


def _unpacked(body: bytes) -> bytes:
    """What a proxy has compressed unasked is an answer all the same; to a bound, since a few bytes may hold much."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        return zlib.decompressobj(31).decompress(body, MAX_BODY)
    except zlib.error:
        return b""


def _whole(value: object) -> int | None:
    """An integer given as a number or as digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) < 20 and value.strip().isascii() and value.strip().isdigit():
        return int(value)
    return None


def _seconds(header: str | None) -> float | None:
    if header is None or not header.strip().isascii() or not header.strip().isdigit():
        return None  # the other form is a date; DMark was never seen to send one
    return float(header.strip()[:6])


def _raise_common(reply: Reply) -> None:
    """What means the same wherever it was asked."""
    if 300 <= reply.status < 400:
        raise Misdirected(
            f"DMark redirects ({reply.status}): check SMS_SERVICE_BASE_URL and the SMS_*_PATH settings.", reply.status
        )
    if reply.status == 429:
        raise ProviderUnavailable("DMark limits the rate (429).", 429, reply.retry_after)
    if 500 <= reply.status < 600:
        raise ProviderUnavailable(f"DMark is in trouble ({reply.status}).", reply.status, reply.retry_after)


def _said(reply: Reply) -> str:
    """The provider's own words, for a person."""
    for name in ("description", "error", "message", "detail"):
        words = (reply.data or {}).get(name)
        if isinstance(words, str) and words.strip():
            return redact(clean(words.strip()))[:200]
    return ""


def _explained(start: str, reply: Reply) -> str:
    said = _said(reply)
    return f"{start}: {said.rstrip('.')}." if said else f"{start}."


def access_token(reply: Reply) -> str:
    _raise_common(reply)
    if 400 <= reply.status < 500:
        raise AuthenticationFailed(
            _explained(
                f"DMark refuses the credentials ({reply.status}); check SMS_SERVICE_USERNAME, "
                "SMS_SERVICE_PASSWORD and SMS_TOKEN_PATH",
                reply,
            ),
            reply.status,
        )
    token = (reply.data or {}).get("access_token")
    # It goes into a header, so it must be fit for one.
    if not isinstance(token, str) or not token or len(token) > 8192 or not token.isascii() or not token.isprintable():
        raise ProviderUnavailable("DMark's answer to the token request holds no token.", reply.status)
    return token


# Words by which a provider of texts refuses its customer, not the text; the exact ones of DMark's are not known.
_ACCOUNT = re.compile(
    r"credit|balance|top.?up|payment|suspend|deactivat|blocked account|account\W+(?:is\W+|was\W+|has\W+been\W+)?"
    r"(?:blocked|inactive|disabled|expired|closed|locked)|sender\b.*\b(?:approved|registered|allowed|authori[sz]ed)",
    re.IGNORECASE,
)


def _refusal(start: str, reply: Reply) -> ProviderRejected:
    of_account = reply.status == 402 or _ACCOUNT.search(_said(reply)) is not None
    kind = AccountRefused if of_account else ProviderRejected
    return kind(_explained("DMark refuses the account" if of_account else start, reply), reply.status)


def accepted_id(reply: Reply) -> str:
    """What DMark named a text that it took; "" where it gave no name."""
    if reply.status == 504:
        # Whoever stands before DMark has waited for it in vain: it may have the text.
        raise InDoubt("DMark did not answer whom it stands behind (504).", 504)
    _raise_common(reply)
    if reply.status in (401, 403):
        raise StaleToken(_explained(f"DMark refuses the token ({reply.status})", reply), reply.status)
    if not 200 <= reply.status < 300:
        raise _refusal(f"DMark refuses the text ({reply.status})", reply)
    data = {key.lower(): value for key, value in (reply.data or {}).items()}
    known = {"failed", "submitted", "total", "detail", "msg_id", "message_id", "id", "status_code", "description"}
    if not known & data.keys():
        raise NotDmarks(
            f"An answer that is not DMark's ({reply.status}): whether the text went out is unknown.", reply.status
        )
    failed, submitted = _whole(data.get("failed")), _whole(data.get("submitted"))
    if (failed is not None and failed > 0) or submitted == 0:
        raise _refusal("DMark took the request but not the text", reply)
    return _provider_id(data)


def _provider_id(data: Mapping[str, Any]) -> str:
    detail = data.get("detail")
    first = detail[0] if isinstance(detail, list) and detail else detail
    for place in (data, first):
        if not isinstance(place, Mapping):
            continue
        for name in ("msg_id", "message_id", "id"):
            value = place.get(name)
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            if (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, str) and value.strip()):
                return clean(str(value).strip())[:100]
    return ""


def report(reply: Reply) -> str:
    _raise_common(reply)
    if reply.status in (401, 403):
        raise StaleToken(_explained(f"DMark refuses the token ({reply.status})", reply), reply.status)
    if reply.status == 404:
        return ""
    if not 200 <= reply.status < 300 or reply.data is None:
        raise ProviderRejected(_explained(f"DMark gives no report ({reply.status})", reply), reply.status)
    return word_of(reply.data.get("status"))


def word_of(value: object) -> str:
    """A report's status, given as a word, digits or a number; in capitals, "" where it is none of these."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return clean(str(value)[:200].strip()).upper()[:50]
