"""Interpret DMark's responses, whose format varies. This module does not depend on an HTTP library or a database."""

import json
import re
import zlib
from collections.abc import Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime
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

# At most MAX_KEPT characters of a response are stored. At most MAX_BODY bytes of a response are used.
MAX_KEPT = 500
MAX_BODY = 64 * 1024
_LONGEST_RETRY_AFTER = 86400.0
_LARGEST_STATUS = 999


class Reply(NamedTuple):
    """A complete response from DMark.

    `status`: the HTTP status, or the body's `status_code` if that is 400 or more. `text`: the first 500 characters of
    the body. `retry_after`: in seconds. `ms`: the duration in milliseconds.
    """

    status: int
    data: dict[str, Any] | None
    text: str
    retry_after: float | None
    ms: int = 0


class StaleToken(ProviderError):
    """DMark answered a send or report request with 401 or 403. The caller retries once with a fresh token."""

    trouble = Trouble.CREDENTIALS


def clean(text: str) -> str:
    """Replace unprintable characters, except newlines and tabs, with U+FFFD.

    PostgreSQL rejects NUL and lone surrogates. Control characters could disturb an operator's terminal.
    """
    if text.isprintable():
        return text
    return "".join(
        char if (char.isprintable() or char in "\n\t") and not "\ud800" <= char <= "\udfff" else "\ufffd"
        for char in text
    )


def read(status: int, body: bytes, retry_after: float | None, ms: int = 0) -> Reply:
    """Parse a response.

    `retry_after`: the seconds that `retry_after_seconds` or libcurl has read from the Retry-After header, or None.
    """
    body = _decompressed(body)
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        data = None
    stated = _number((data or {}).get("status_code"))
    return Reply(
        status=int(min(stated, _LARGEST_STATUS)) if stated is not None and stated >= 400 else status,
        data=data,
        text=clean(body[: 4 * MAX_KEPT].decode("utf-8", "replace"))[:MAX_KEPT],
        retry_after=retry_after,
        ms=ms,
    )


def retry_after_seconds(header: str | None, now: float) -> float | None:
    """Parse a Retry-After header (number or HTTP-date). Return seconds, at most one day, or None if it is invalid.

    `now`: seconds since 1970.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _LONGEST_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # An HTTP-date is always in GMT. parsedate_to_datetime returns a naive datetime if it does not know the zone.
    seconds = (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp() - now
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)


def _decompressed(body: bytes) -> bytes:
    """Decompress the body if it is gzip data. Some proxies compress responses although the request did not allow it."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        return zlib.decompressobj(31).decompress(body, MAX_BODY)
    except zlib.error:
        return b""


def _number(value: object) -> float | None:
    """Convert a count or a status code to a float. Return None if it is invalid. For a list, return its length."""
    if isinstance(value, list):
        return float(len(value))
    if isinstance(value, str) and len(value) < 20:
        value = {"true": 1, "false": 0}.get(value.strip().lower(), value)
    if not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _raise_common(reply: Reply) -> None:
    """Raise the error for a redirect, a 429 or a 5xx status. Do nothing for any other status."""
    if 300 <= reply.status < 400:
        raise Misdirected(
            f"DMark redirects ({reply.status}): check SMS_SERVICE_BASE_URL and the SMS_*_PATH settings.", reply.status
        )
    if reply.status == 429:
        raise ProviderUnavailable("DMark limits the rate (429).", 429, reply.retry_after)
    if 500 <= reply.status < 600:
        raise ProviderUnavailable(f"DMark is in trouble ({reply.status}).", reply.status, reply.retry_after)


def _explanation(reply: Reply) -> str:
    """Return DMark's explanation of its response, redacted, or "" if there is none."""
    for name in ("description", "error", "message", "detail"):
        text = (reply.data or {}).get(name)
        if isinstance(text, str) and text.strip():
            return redact(clean(text.strip()))[:200]
    return ""


def _with_explanation(start: str, reply: Reply) -> str:
    explanation = _explanation(reply)
    return f"{start}: {explanation.rstrip('.')}." if explanation else f"{start}."


def access_token(reply: Reply) -> str:
    """Return the access token that DMark's response contains. Raises ProviderError if it contains none."""
    _raise_common(reply)
    if 400 <= reply.status < 500:
        raise AuthenticationFailed(
            _with_explanation(
                f"DMark refuses the credentials ({reply.status}); check SMS_SERVICE_USERNAME, "
                "SMS_SERVICE_PASSWORD and SMS_TOKEN_PATH",
                reply,
            ),
            reply.status,
        )
    token = (reply.data or {}).get("access_token")
    # The token is sent in an HTTP header, so it must be printable ASCII.
    if not isinstance(token, str) or not token or len(token) > 8192 or not token.isascii() or not token.isprintable():
        raise ProviderUnavailable("DMark's response to the token request holds no token.", reply.status)
    return token


# Words with which an SMS provider may refuse a whole account. DMark's exact words are not known.
_ACCOUNT = re.compile(
    r"credit|balance|top.?up|payment|suspend|deactivat|blocked account|account\W+(?:is\W+|was\W+|has\W+been\W+)?"
    r"(?:blocked|inactive|disabled|expired|closed|locked)|sender\b.*\b(?:approved|registered|allowed|authori[sz]ed)",
    re.IGNORECASE,
)


def _refusal(start: str, reply: Reply) -> ProviderRejected:
    of_account = reply.status == 402 or _ACCOUNT.search(_explanation(reply)) is not None
    kind = AccountRefused if of_account else ProviderRejected
    return kind(_with_explanation("DMark refuses the account" if of_account else start, reply), reply.status)


def accepted_id(reply: Reply) -> str:
    """Return DMark's id of the accepted message, or "" if the response has no id.

    Raises ProviderError if the response does not accept the message.
    """
    if reply.status == 504:
        # A gateway in front of DMark timed out. DMark may have received the message.
        raise InDoubt("A gateway got no response from DMark (504).", 504)
    _raise_common(reply)
    if reply.status in (401, 403):
        raise StaleToken(_with_explanation(f"DMark refuses the token ({reply.status})", reply), reply.status)
    if not 200 <= reply.status < 300:
        raise _refusal(f"DMark refuses the message ({reply.status})", reply)
    data = {key.lower(): value for key, value in (reply.data or {}).items()}
    known = {"failed", "submitted", "total", "detail", "msg_id", "message_id", "id", "status_code", "description"}
    if not known & data.keys():
        raise NotDmarks(
            f"Something other than DMark answered (HTTP {reply.status}). We can't tell whether the SMS was sent.",
            reply.status,
        )
    failed, submitted = _number(data.get("failed")), _number(data.get("submitted"))
    if (failed is not None and failed > 0) or submitted == 0:
        raise _refusal("DMark took the request but not the message", reply)
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
    """Return the status word in the response to a report request, or "" if there is none.

    Raises ProviderError if the response is not usable.
    """
    _raise_common(reply)
    if reply.status in (401, 403):
        raise StaleToken(_with_explanation(f"DMark refuses the token ({reply.status})", reply), reply.status)
    if reply.status == 404:
        return ""
    if not 200 <= reply.status < 300 or reply.data is None:
        raise ProviderRejected(_with_explanation(f"DMark gives no report ({reply.status})", reply), reply.status)
    return status_word(reply.data)


# Limits of the search in a delivery report, which may be hostile: nesting depth, and items per level.
_REPORT_DEPTH, _REPORT_ITEMS = 3, 20


def status_word(report: object) -> str:
    """Return the status word of a delivery report in capitals, or "" if there is none. The status may be nested."""
    return _find_status(report, _REPORT_DEPTH)


def _find_status(value: object, depth: int) -> str:
    if isinstance(value, Mapping):
        for name, inner in list(value.items())[:_REPORT_ITEMS]:
            if str(name).strip().lower() in ("status", "delivery_status", "dlr_status") and (word := _word(inner)):
                return word
        value = list(value.values())
    if isinstance(value, list) and depth:
        for inner in value[:_REPORT_ITEMS]:
            if word := _find_status(inner, depth - 1):
                return word
    return ""


def _word(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    word = clean(str(value)[:200].strip()).upper()[:50]
    # Some DMark hosts replace `%s` in the URL with the status. If `%s` is still there, the report has no status.
    return "" if word in ("%S", "%25S") else word
