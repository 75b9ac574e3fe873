"""The reading of DMark's answers: what each means, whatever its shape. Knows no HTTP library and no database."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sms.errors import AuthenticationFailed, ProviderError, ProviderRejected, ProviderUnavailable
from sms.text.redaction import redact

MAX_KEPT = 500


class Reply(NamedTuple):
    """An answer as read: the status that counts, the body's object (None if it is no JSON object), the text kept."""

    status: int
    data: dict[str, Any] | None
    text: str
    retry_after: float | None


class StaleToken(ProviderError):
    """401 or 403 on anything but the token itself."""


def clean(text: str) -> str:
    """Without what PostgreSQL or a terminal refuses: NUL, other control characters, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(
        char if (char.isprintable() or char in "\n\t") and not "\ud800" <= char <= "\udfff" else "\ufffd"
        for char in text
    )


def read(status: int, body: bytes, retry_after: str | None) -> Reply:
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
    )


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
        raise ProviderRejected(
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


def accepted_id(reply: Reply) -> str:
    _raise_common(reply)
    if reply.status in (401, 403):
        raise StaleToken(_explained(f"DMark refuses the token ({reply.status})", reply), reply.status)
    if not 200 <= reply.status < 300:
        raise ProviderRejected(_explained(f"DMark refuses the text ({reply.status})", reply), reply.status)
    data = {key.lower(): value for key, value in (reply.data or {}).items()}
    known = {"failed", "submitted", "total", "detail", "msg_id", "message_id", "id", "status_code", "description"}
    if not known & data.keys():
        raise ProviderRejected(
            f"An answer that is not DMark's ({reply.status}): whether the text went out is unknown.", reply.status
        )
    failed, submitted = _whole(data.get("failed")), _whole(data.get("submitted"))
    if (failed is not None and failed > 0) or submitted == 0:
        raise ProviderRejected(_explained("DMark took the request but not the text", reply), reply.status)
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
    word = reply.data.get("status")
    return clean(str(word).strip()).upper()[:50] if isinstance(word, str | int) else ""
