"""Talk to DMark with the `requests` library, one request at a time: send a message, poll a report, fetch a token."""

import io
import os
from collections.abc import Mapping
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar

import requests
import urllib3

from sms import __version__, clock, conf, runtime
from sms.dmark import access_token, conversation, responses, total_timeout
from sms.dmark.conversation import (
    NO_URL,
    AccessToken,
    Budget,
    Conversation,
    FetchedToken,
    NeedToken,
    NoResponse,
    OnExchange,
    Pause,
    Request,
)
from sms.dmark.kept_connections import KeptConnections
from sms.errors import Misdirected, ProviderError

_CHUNK = 16 * 1024
HEADERS: Mapping[str, str] = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"playmatatu-sms/{__version__}",
}

T = TypeVar("T")


def send(
    number: str,
    text: str,
    dlr_url: str,
    on_exchange: OnExchange,
    *,
    kind: str = "",
    budget: Budget | None = None,
) -> str:
    """Send one message. Return DMark's id of the message, or "" if the response has none.

    Raises ProviderError if DMark did not confirm the message, and SmsDisabled if SMS is switched off.
    """
    config = conf.current()
    return run(
        conversation.send(config, number, text, dlr_url, on_exchange, kind=kind, budget=budget), config, on_exchange
    )


def report(provider_id: str, on_exchange: OnExchange) -> str:
    """Poll DMark for a message's delivery report. Return its status word in capitals, or "" if there is none.

    Raises ProviderError if the poll fails, and SmsDisabled if SMS is switched off.
    """
    config = conf.current()
    return run(conversation.report(config, provider_id, on_exchange), config, on_exchange)


def token(config: conf.Config, on_exchange: OnExchange, rejected: str = "") -> str:
    """Return an access token from the cache or from DMark. A cached token equal to `rejected` is not returned."""

    def fetch() -> FetchedToken:
        return run(conversation.fetch_token(config, on_exchange), config, on_exchange)

    return access_token.get(fetch, config, rejected=rejected)


def run(running: Conversation[T], config: conf.Config, on_exchange: OnExchange) -> T:
    """Carry out the commands of a conversation (see `conversation`).

    Returns the result of the conversation, or raises its error.
    """
    event: object = None
    error: Exception | None = None
    while True:
        try:
            command = running.throw(error) if error else running.send(event)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        event = error = None
        try:
            if isinstance(command, Request):
                event = post(command, config)
            elif isinstance(command, Pause):
                runtime.current.sleep(command.seconds)
            else:
                event = _get_token(command, config, on_exchange)
        except (NoResponse, ProviderError) as caught:
            error = caught


def _get_token(command: NeedToken, config: conf.Config, on_exchange: OnExchange) -> AccessToken:
    started = clock.monotonic()
    return AccessToken(token(config, on_exchange, command.rejected), _ms(started))


def _ms(started: float) -> int:
    return round((clock.monotonic() - started) * 1000)


class _Body(io.BytesIO):
    """A request body. `begun`: True after the first read of the body. If False, DMark cannot have the message."""

    begun = False

    def read(self, size: int | None = -1, /) -> bytes:
        self.begun = True
        return super().read(size)


_kept_connections = KeptConnections()


def _new_session() -> requests.Session:
    session = total_timeout.session()
    # Ignore proxies, netrc files and certificate bundles that environment variables name. Keep no cookies.
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


_session = lru_cache(maxsize=1)(_new_session)
# A forked child process must not use the sockets of its parent.
os.register_at_fork(after_in_child=_session.cache_clear)


def post(request: Request, config: conf.Config) -> responses.Reply:
    """Send one POST request and return the response.

    Raises NoResponse if there was no complete response, and Misdirected if the URL is invalid.
    """
    headers = {**HEADERS, "authToken": request.token} if request.token else dict(HEADERS)
    body = _Body(request.payload)
    session = _session() if _kept_connections.usable else _new_session()
    started = clock.monotonic()
    try:
        response = session.post(
            request.url,
            data=body,
            headers=headers,
            timeout=(config.connect_timeout, config.read_timeout),
            allow_redirects=False,
            stream=True,
        )
        with response:
            received = _read_body(response.raw)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        # A ValueError means an invalid URL only if nothing was written. Hide its text: it may contain a password.
        if isinstance(error, ValueError) and not body.begun:
            raise Misdirected(NO_URL) from None
        timed_out = isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError)
        if body.begun and not timed_out:
            # DMark has probably closed this connection while it was idle. Close the other idle connections too, so that
            # the retry opens a new connection.
            _kept_connections.note_loss()
            session.close()
        raise NoResponse(_cause(error), request_written=body.begun, timed_out=timed_out, ms=_ms(started)) from None
    finally:
        if session is not _session():
            session.close()
    retry_after = responses.retry_after_seconds(response.headers.get("Retry-After"), clock.time())
    return responses.read(response.status_code, received, retry_after, _ms(started))


def _read_body(raw: Any) -> bytes:
    body = b""
    # Do not decompress here: damaged gzip data would make a complete response count as no response.
    while chunk := raw.read1(_CHUNK, decode_content=False):
        body += chunk
        if len(body) > responses.MAX_BODY:
            break
    return body[: responses.MAX_BODY]


def _cause(error: BaseException) -> str:
    """Return the class name of the innermost exception.

    `ConnectionRefusedError` tells an operator more than `ConnectionError`.
    """
    for _depth in range(8):
        inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
        if not isinstance(inner, BaseException):
            inner = error.__cause__ or error.__context__
        if not isinstance(inner, BaseException) or isinstance(inner, KeyError):
            break
        error = inner
    return type(error).__name__
