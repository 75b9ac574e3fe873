"""HTTP to DMark, with its retries. Knows no database; what an answer means is read in `answers`.

`send` delivers one text and returns what DMark named it, `report` asks what became of one, both with a cached token.
Every request made is told to `note` as an `Exchange`, so that the caller can log and keep it.
"""

import json
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter

from sms import __version__, conf
from sms.dmark import access_token, answers
from sms.dmark.exchange import Exchange
from sms.errors import AuthenticationFailed, ProviderError, ProviderRejected, ProviderUnavailable, SmsDisabled
from sms.text.redaction import redact

MAX_BODY = 64 * 1024
# The quick retries: pauses in seconds, drawn from these ranges.
PAUSES = ((0.10, 0.25), (0.45, 0.55))
LONGEST_QUICK_RETRY_AFTER = 2.0
_CHUNK = 16 * 1024
_POOL = 256

T = TypeVar("T")

# Set when the process is about to end: no further quick retry is begun.
draining = threading.Event()


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
    return _with_token("send", config.send_path, body, answers.accepted_id, note, config, remember)


def report(provider_id: str, note: Note) -> str:
    """DMark's word for what became of a text, in capitals; "" when it knows none. Raises ProviderError."""
    config = conf.current()
    return _with_token("report", config.dlr_path, {"msg_id": provider_id}, answers.report, note, config, 0.0)


def _with_token(
    step: str,
    path: str,
    body: Mapping[str, object],
    read: Callable[[answers.Reply], T],
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

    token = access_token.get(fetch, config, remember=remember)
    try:
        return ask(token)
    except answers.StaleToken:
        token = access_token.get(fetch, config, rejected=token, remember=remember)
    try:
        return ask(token)
    except answers.StaleToken as error:
        raise AuthenticationFailed(
            f"DMark refuses a fresh token: {error} Check SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD.",
            error.status_code,
        ) from None


def _fetch_token(config: conf.Config, note: Note, deadline: float) -> str:
    payload = json.dumps({"username": config.username, "password": config.password}).encode()
    return _retrying("token", config.token_path, payload, "", answers.access_token, note, config, deadline)


# --- one question, with its quick retries


def _retrying(
    step: str,
    path: str,
    payload: bytes,
    token: str,
    read: Callable[[answers.Reply], T],
    note: Note,
    config: conf.Config,
    deadline: float,
) -> T:
    url = config.url(path)
    for attempt, pause in enumerate((*PAUSES, None), start=1):
        started = time.monotonic()
        reply: answers.Reply | None = None
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


def _quick_pause(error: ProviderError, reply: answers.Reply | None, pause: tuple[float, float] | None) -> float | None:
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
    step: str, attempt: int, reply: answers.Reply | None, outcome: object, error: ProviderError | None, started: float
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


_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"playmatatu-sms/{__version__}",
}


class _Adapter(HTTPAdapter):
    """The connections of requests, with the certificates it trusts, for who asks them without its session."""

    def endpoint(self, url: str) -> tuple[urllib3.HTTPConnectionPool, str, dict[str, str]]:
        """The pool of the URL's host, the path to ask there, and the headers. Raises ValueError where it is no URL."""
        request = requests.Request("POST", url, headers=_HEADERS).prepare()
        pool = self.get_connection_with_tls_context(request, verify=True)
        # The URL as prepared: one that starts with a blank is not taken for https.
        self.cert_verify(pool, request.url, verify=True, cert=None)  # type: ignore[no-untyped-call]
        headers = {name: value for name, value in request.headers.items() if name != "Content-Length"}
        return cast(urllib3.HTTPConnectionPool, pool), request.path_url, headers


@lru_cache(maxsize=8)
def _endpoint(url: str) -> tuple[urllib3.HTTPConnectionPool, str, dict[str, str]]:
    return _Adapter(pool_connections=1, pool_maxsize=_POOL).endpoint(url)


# A child must not talk over its parent's sockets.
os.register_at_fork(after_in_child=_endpoint.cache_clear)


def _post(url: str, payload: bytes, token: str, config: conf.Config) -> answers.Reply:
    """One POST, over requests' pool but not through its session, which would double the CPU of a text.

    So no redirect is followed, no cookie kept, no proxy or netrc of the environment is read, and the body is read
    to a bound.
    """
    try:
        pool, path, headers = _endpoint(url)
    except ValueError as error:  # requests' InvalidURL and MissingSchema among them
        raise ProviderRejected(f"SMS_SERVICE_BASE_URL and its path make no address: {error}") from None
    except OSError as error:  # the certificates that requests trusts are not there: while they are renewed, say
        raise ProviderUnavailable(f"No whole answer from DMark ({_cause(error)}).") from None
    if token:
        headers = {**headers, "authToken": token}
    timeout = urllib3.Timeout(config.connect_timeout, config.read_timeout)
    deadline = time.monotonic() + config.connect_timeout + config.read_timeout
    try:
        response = pool.urlopen(
            "POST", path, payload, headers, retries=False, redirect=False, timeout=timeout, preload_content=False
        )
        try:
            body = _read_body(response, deadline)
        except urllib3.exceptions.DecodeError:
            # Compressed unasked, and badly: an answer all the same, so asking again could send the text twice.
            response.close()
            body = b""
        except BaseException:
            response.close()
            raise
        response.release_conn()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        # A refused connection is a kind of ConnectTimeoutError to urllib3.
        refused = isinstance(error, urllib3.exceptions.NewConnectionError)
        if isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError) and not refused:
            raise ProviderUnavailable("DMark did not answer in time.") from None
        raise ProviderUnavailable(f"No whole answer from DMark ({_cause(error)}).") from None
    return answers.read(response.status, body, response.headers.get("Retry-After"))


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
