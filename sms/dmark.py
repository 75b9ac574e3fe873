"""HTTP to DMark, and the reading of its answers. Knows no database.

`send` delivers one text and returns what DMark named it, `report` asks what became of one, both with a cached token.
Every request made is told to `note` as an `Exchange`, so that the caller can log and keep it.
"""

import json
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter

from sms import conf, tokens
from sms.errors import AuthenticationFailed, ProviderError, ProviderRejected, ProviderUnavailable, SmsDisabled
from sms.redaction import redact

MAX_BODY = 64 * 1024
MAX_KEPT = 500
# The quick retries: pauses in seconds, drawn from these ranges.
PAUSES = ((0.10, 0.25), (0.45, 0.55))
LONGEST_QUICK_RETRY_AFTER = 2.0
_CHUNK = 16 * 1024
_POOL = 256

T = TypeVar("T")

# Set when the process is about to end: no further quick retry is begun.
draining = threading.Event()


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came back. `step`: token, send or report; `status`: HTTP's, None without an answer."""

    step: str
    attempt: int
    status: int | None
    provider_id: str
    answer: str
    error: str
    ms: int


class Reply(NamedTuple):
    """An answer as read: the status that counts, the body's object (None if it is no JSON object), the text kept."""

    status: int
    data: dict[str, Any] | None
    text: str
    retry_after: float | None


class _StaleToken(ProviderError):
    """401 or 403 on anything but the token itself."""


Note = Callable[[Exchange], None]


def send(
    local_number: str,
    text: str,
    dlr_url: str,
    note: Note,
    config: conf.Config | None = None,
    *,
    remember: float = 0.0,
) -> str:
    """Hand one text to DMark; its id for it, or "" where it gave none. Raises ProviderError after the retries."""
    config = config or conf.current()
    body = {"msg": text, "numbers": local_number, "dlr_url": dlr_url, "scan_ip": False}
    return _with_token("send", config.send_path, body, _read_send, note, config, remember)


def report(provider_id: str, note: Note) -> str:
    """DMark's word for what became of a text, in capitals; "" when it knows none. Raises ProviderError."""
    config = conf.current()
    return _with_token("report", config.dlr_path, {"msg_id": provider_id}, _read_report, note, config, 0.0)


def _with_token(
    step: str,
    path: str,
    body: Mapping[str, object],
    read: Callable[[Reply], T],
    note: Note,
    config: conf.Config,
    remember: float,
) -> T:
    if not config.enabled:
        raise SmsDisabled
    deadline = time.monotonic() + config.send_budget
    payload = json.dumps(body).encode()

    def fetch() -> str:
        return _fetch_token(config, note, deadline)

    def ask(token: str) -> T:
        return _retrying(step, path, payload, token, read, note, config, deadline)

    token = tokens.get(fetch, config, remember=remember)
    try:
        return ask(token)
    except _StaleToken:
        token = tokens.get(fetch, config, rejected=token, remember=remember)
    try:
        return ask(token)
    except _StaleToken as error:
        raise AuthenticationFailed(
            f"DMark refuses a fresh token: {error} Check SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD.",
            error.status_code,
        ) from None


def _fetch_token(config: conf.Config, note: Note, deadline: float) -> str:
    payload = json.dumps({"username": config.username, "password": config.password}).encode()
    return _retrying("token", config.token_path, payload, "", _read_token, note, config, deadline)


# --- one question, with its quick retries


def _retrying(
    step: str,
    path: str,
    payload: bytes,
    token: str,
    read: Callable[[Reply], T],
    note: Note,
    config: conf.Config,
    deadline: float,
) -> T:
    url = config.url(path)
    for attempt, pause in enumerate((*PAUSES, None), start=1):
        started = time.monotonic()
        reply: Reply | None = None
        outcome = error = None
        try:
            reply = _post(url, payload, token, config)
            outcome = read(reply)
        except ProviderError as caught:
            error = caught
        note(_exchange(step, attempt, reply, outcome, error, started))
        if error is None:
            return outcome  # type: ignore[return-value]  # no error: `read` has answered
        wait = _quick_pause(error, reply, pause)
        if wait is None or time.monotonic() + wait >= deadline or draining.wait(wait):
            raise error
    raise AssertionError("the last try returns or raises")


def _quick_pause(error: ProviderError, reply: Reply | None, pause: tuple[float, float] | None) -> float | None:
    """Seconds until the next quick try; None where there is none."""
    if pause is None or not isinstance(error, ProviderUnavailable):
        return None
    wait = random.uniform(*pause)  # noqa: S311
    if reply is not None and 200 <= reply.status < 300:
        return None  # complete, only unreadable: it would read the same again
    if error.status_code == 429 and error.retry_after is not None:
        return max(wait, error.retry_after) if error.retry_after <= LONGEST_QUICK_RETRY_AFTER else None
    return wait


def _exchange(
    step: str, attempt: int, reply: Reply | None, outcome: object, error: ProviderError | None, started: float
) -> Exchange:
    # The answer to a token request holds the token: only its error is worth keeping.
    shown = reply.text if reply and (step != "token" or error) else ""
    return Exchange(
        step=step,
        attempt=attempt,
        status=reply.status if reply else None,
        provider_id=outcome if step == "send" and isinstance(outcome, str) else "",
        answer=redact(shown),
        error=str(error) if error else "",
        ms=round((time.monotonic() - started) * 1000),
    )


# --- HTTP


@lru_cache(maxsize=1)
def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=_POOL))
    return session


# A child must not talk over its parent's sockets.
os.register_at_fork(after_in_child=_session.cache_clear)


@lru_cache(maxsize=8)
def _template(url: str) -> requests.PreparedRequest:
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
    return requests.Request("POST", url, headers={**headers, "User-Agent": "playmatatu-sms"}).prepare()


def _post(url: str, payload: bytes, token: str, config: conf.Config) -> Reply:
    """One POST. The session's adapter is called with a prepared request, which saves a third of the CPU.

    So no redirect is followed, no proxy or netrc of the environment is read, and the body is read to a bound.
    """
    try:
        request = _template(url).copy()
    except ValueError as error:  # requests' InvalidURL and MissingSchema are ValueErrors
        raise ProviderRejected(f"SMS_SERVICE_BASE_URL and its path make no address: {error}") from None
    request.body = payload
    request.headers["Content-Length"] = str(len(payload))
    if token:
        request.headers["authToken"] = token
    deadline = time.monotonic() + config.connect_timeout + config.read_timeout
    try:
        adapter = _session().get_adapter(url)
        response = adapter.send(request, stream=True, timeout=(config.connect_timeout, config.read_timeout))
        try:
            body = _read_body(response.raw, deadline)
        except BaseException:
            response.raw.close()
            raise
        response.raw.release_conn()
    except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError):
        raise ProviderUnavailable("DMark did not answer in time.") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise ProviderUnavailable(f"No whole answer from DMark ({_cause(error)}).") from None
    return _reply(response.status_code, body, response.headers.get("Retry-After"))


def _read_body(raw: Any, deadline: float) -> bytes:
    """At most MAX_BODY of the body; what comes drop by drop counts as a time-out."""
    body = b""
    while chunk := raw.read1(_CHUNK):
        body += chunk
        if len(body) > MAX_BODY:
            raw.close()
            break
        if time.monotonic() > deadline:
            raise TimeoutError
    return body[:MAX_BODY]


def _cause(error: BaseException) -> str:
    """The innermost reason's name: `ConnectionRefusedError` tells more than `ConnectionError`."""
    seen = 0
    while seen < 8:
        inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
        if not isinstance(inner, BaseException):
            inner = error.__cause__ or error.__context__
        if not isinstance(inner, BaseException) or isinstance(inner, KeyError):
            break
        error, seen = inner, seen + 1
    return type(error).__name__


# --- reading


def clean(text: str) -> str:
    """Without what PostgreSQL or a terminal refuses: NUL, other control characters, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(
        char if (char.isprintable() or char in "\n\t") and not "\ud800" <= char <= "\udfff" else "\ufffd"
        for char in text
    )


def _reply(status: int, body: bytes, retry_after: str | None) -> Reply:
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


def _read_token(reply: Reply) -> str:
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


def _read_send(reply: Reply) -> str:
    _raise_common(reply)
    if reply.status in (401, 403):
        raise _StaleToken(_explained(f"DMark refuses the token ({reply.status})", reply), reply.status)
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


def _read_report(reply: Reply) -> str:
    _raise_common(reply)
    if reply.status in (401, 403):
        raise _StaleToken(_explained(f"DMark refuses the token ({reply.status})", reply), reply.status)
    if reply.status == 404:
        return ""
    if not 200 <= reply.status < 300 or reply.data is None:
        raise ProviderRejected(_explained(f"DMark gives no report ({reply.status})", reply), reply.status)
    word = reply.data.get("status")
    return clean(str(word).strip()).upper()[:50] if isinstance(word, str | int) else ""
