"""The conversation with DMark, one at a time, over requests: inline sends, commands, reports, tokens."""

import io
import os
import time
from collections.abc import Mapping
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar

import requests
import urllib3

from sms import __version__, conf
from sms.dmark import access_token, conversation, responses, total_timeout
from sms.dmark.conversation import (
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
    """Hand one text to DMark; its id for it, or "" where it gave none. Raises ProviderError after the retries."""
    config = conf.current()
    return run(
        conversation.send(config, number, text, dlr_url, on_exchange, kind=kind, budget=budget), config, on_exchange
    )


def report(provider_id: str, on_exchange: OnExchange) -> str:
    """DMark's word for what became of a text, in capitals; "" when it knows none. Raises ProviderError."""
    config = conf.current()
    return run(conversation.report(config, provider_id, on_exchange), config, on_exchange)


def token(config: conf.Config, on_exchange: OnExchange, rejected: str = "") -> str:
    """DMark's access token, not `rejected`: cached, or fetched by one caller for all who wait in this process."""

    def fetch() -> FetchedToken:
        return run(conversation.fetch_token(config, on_exchange), config, on_exchange)

    return access_token.get(fetch, config, rejected=rejected)


def run(running: Conversation[T], config: conf.Config, on_exchange: OnExchange) -> T:
    """Drive one conversation to its end. Raises what it raises."""
    answer: object = None
    error: Exception | None = None
    while True:
        try:
            command = running.throw(error) if error else running.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        answer = error = None
        try:
            if isinstance(command, Request):
                answer = post(command, config)
            elif isinstance(command, Pause):
                time.sleep(command.seconds)
            else:
                answer = _get_token(command, config, on_exchange)
        except (NoResponse, ProviderError) as caught:
            error = caught


def _get_token(command: NeedToken, config: conf.Config, on_exchange: OnExchange) -> AccessToken:
    started = time.monotonic()
    return AccessToken(token(config, on_exchange, command.rejected), _ms(started))


def _ms(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


# --- HTTP


class _Body(io.BytesIO):
    """A request's body that knows whether anything of it was asked for: nothing of the text left before that."""

    begun = False

    def read(self, size: int | None = -1, /) -> bytes:
        self.begun = True
        return super().read(size)


@lru_cache(maxsize=1)
def _session() -> requests.Session:
    session = total_timeout.session()
    # No proxy, netrc or certificate bundle of the environment; no cookie kept.
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


# A child must not talk over its parent's sockets.
os.register_at_fork(after_in_child=_session.cache_clear)


def post(request: Request, config: conf.Config) -> responses.Reply:
    """One POST, without redirects, its answer read to a bound. Raises NoResponse where no whole answer came."""
    headers = {**HEADERS, "authToken": request.token} if request.token else dict(HEADERS)
    body = _Body(request.payload)
    started = time.monotonic()
    try:
        response = _session().post(
            request.url,
            data=body,
            headers=headers,
            timeout=(config.connect_timeout, config.read_timeout),
            allow_redirects=False,
            stream=True,
        )
        with response:
            answer = _read_body(response.raw)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        if isinstance(error, ValueError):  # requests' InvalidURL and MissingSchema among them
            raise Misdirected(f"SMS_SERVICE_BASE_URL and its path make no address: {error}") from None
        timed_out = isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError)
        raise NoResponse(_cause(error), request_written=body.begun, timed_out=timed_out, ms=_ms(started)) from None
    return responses.read(response.status_code, answer, response.headers.get("Retry-After"), _ms(started))


def _read_body(raw: Any) -> bytes:
    """At most 64 KiB of the body."""
    body = b""
    # As it came: what is compressed unasked is an answer all the same, if one that cannot be read.
    while chunk := raw.read1(_CHUNK, decode_content=False):
        body += chunk
        if len(body) > responses.MAX_BODY:
            break
    return body[: responses.MAX_BODY]


def _cause(error: BaseException) -> str:
    """The innermost reason's name: `ConnectionRefusedError` tells more than `ConnectionError`."""
    for _depth in range(8):
        inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
        if not isinstance(inner, BaseException):
            inner = error.__cause__ or error.__context__
        if not isinstance(inner, BaseException) or isinstance(inner, KeyError):
            break
        error = inner
    return type(error).__name__
