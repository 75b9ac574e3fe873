"""Conversations with DMark as sans-I/O state machines, without an HTTP library, cache, database or clock.

A conversation is a generator. It yields commands (`Request`, `Pause`, `NeedToken`). A driver carries out each command
and sends the result back into the generator. The drivers are `sms.dmark.blocking` and the worker's engine.
"""

import json
import random
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

from sms.conf import Config
from sms.dmark import responses
from sms.dmark.exchange import Exchange
from sms.dmark.responses import Reply
from sms.errors import AuthenticationFailed, InDoubt, Misdirected, ProviderError, ProviderUnavailable, SmsDisabled
from sms.text.redaction import redact

# Waiting time in seconds before the first and the second immediate retry: a random number between these limits.
PAUSES = ((0.10, 0.25), (0.45, 0.55))
LONGEST_QUICK_RETRY_AFTER = 2.0
# The two URL paths at which DMark issues tokens. If one path responds 404, the other path is tried once.
TOKEN_PATHS = ("/api/get_token/", "/v3/api/get_token/")

NO_URL = "SMS_SERVICE_BASE_URL and its path make no valid URL. Write the setting like https://sms.example.com."

T = TypeVar("T")


class Request(NamedTuple):
    """Command to the driver: POST `payload` (JSON) to `url`, then send back a Reply or throw NoResponse.

    `token`: value of the header `authToken`, or "" to send no such header.
    """

    step: str
    url: str
    payload: bytes
    token: str


class Pause(NamedTuple):
    """Command to the driver: wait `seconds`, then send back None.

    If the worker is shutting down, the driver sends False at once, and the conversation ends.
    """

    seconds: float


class NeedToken(NamedTuple):
    """Command to the driver: get an access token, then send back an AccessToken or throw ProviderError.

    `rejected`: a token that DMark has refused, or "".
    """

    rejected: str


class AccessToken(NamedTuple):
    """Event: an access token. `ms`: the time that was needed to get the token."""

    token: str
    ms: int = 0


class NoResponse(Exception):
    """Event: a request got no complete response.

    `request_written`: DMark may have the request, because at least part of it was written.
    """

    def __init__(self, cause: str, *, request_written: bool, timed_out: bool = False, ms: int = 0) -> None:
        self.cause, self.request_written, self.timed_out, self.ms = cause, request_written, timed_out, ms
        super().__init__(cause)


class FetchedToken(NamedTuple):
    """A new token, and the URL path at which DMark issued the token."""

    token: str
    path: str


OnExchange = Callable[[Exchange], None]
Command: TypeAlias = Request | Pause | NeedToken
Conversation: TypeAlias = Generator[Command, Any, T]


@dataclass(slots=True)
class Budget:
    """A time limit for the requests about one message, in seconds. After this time, no request begins."""

    seconds: float
    spent: float = 0.0

    def allows(self, pause: float) -> bool:
        return self.spent + pause < self.seconds


class RequestSpec(NamedTuple):
    """All parts of a request except its access token.

    `pauses`: for each retry that is left, the shortest and the longest pause before it, in seconds.
    """

    step: str
    url: str
    payload: bytes
    read: Callable[[Reply], Any]
    on_exchange: OnExchange
    budget: Budget
    pauses: Iterator[tuple[float, float]]


def send(
    config: Config,
    number: str,
    text: str,
    dlr_url: str,
    on_exchange: OnExchange,
    *,
    kind: str = "",
    budget: Budget | None = None,
) -> Conversation[str]:
    """Send one message. `number` has the form 0XXXXXXXXX.

    Returns DMark's id of the message, or "" if the response has none. If the outcome of a request is unknown, raises
    InDoubt or NotDmarks without a retry.
    """
    body: dict[str, object] = {"msg": text, "numbers": number, "dlr_url": dlr_url, "scan_ip": False}
    if category := config.categories.get(kind):
        body["category"] = category
    return _with_token(config, "send", config.send_path, body, responses.accepted_id, on_exchange, budget)


def report(config: Config, provider_id: str, on_exchange: OnExchange) -> Conversation[str]:
    """Poll the delivery report of a message. Returns DMark's status word in capitals, or "" if there is no report."""
    # Some clients of DMark send `msg_id` and others send `msgId`, so both names are sent.
    body = {"msg_id": provider_id, "msgId": provider_id}
    return _with_token(config, "report", config.dlr_path, body, responses.report, on_exchange, None)


def fetch_token(config: Config, on_exchange: OnExchange) -> Conversation[FetchedToken]:
    """Fetch a new token. If DMark responds 404 at the configured URL path, another known path is tried once."""
    other = TOKEN_PATHS[0] if config.token_path == TOKEN_PATHS[1] else TOKEN_PATHS[1]
    payload = json.dumps({"username": config.username, "password": config.password}).encode()
    budget = Budget(config.send_budget)
    _refuse_bad_url(config)
    first: ProviderError | None = None
    for path in (config.token_path, other):
        spec = RequestSpec(
            "token", config.url(path), payload, responses.access_token, on_exchange, budget, iter(PAUSES)
        )
        try:
            return FetchedToken((yield from _request(spec, "")), path)
        except ProviderError as error:
            if first or error.status_code != 404:
                raise first if first and error.status_code == 404 else error from None
            first = error
    raise AssertionError("the second path returns or raises")


def _with_token(
    config: Config,
    step: str,
    path: str,
    body: Mapping[str, object],
    read: Callable[[Reply], T],
    on_exchange: OnExchange,
    budget: Budget | None,
) -> Conversation[T]:
    if not config.enabled:
        raise SmsDisabled(config.disabled_because)
    _refuse_bad_url(config)
    budget = budget or Budget(config.send_budget)
    spec = RequestSpec(step, config.url(path), json.dumps(body).encode(), read, on_exchange, budget, iter(PAUSES))
    rejected = ""
    while True:
        access: AccessToken = yield NeedToken(rejected)
        budget.spent += access.ms / 1000
        # Check the time limit again: fetching a token may take so long that the claim of the message expires.
        if not budget.allows(0):
            raise ProviderUnavailable("DMark took too long to issue an access token.")
        try:
            outcome: T = yield from _request(spec, access.token)
        except responses.StaleToken as error:
            if rejected:
                raise AuthenticationFailed(
                    f"DMark refuses a fresh token: {error} Check SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD.",
                    error.status_code,
                ) from None
            if not budget.allows(0):
                raise ProviderUnavailable(str(error), error.status_code) from None
            rejected = access.token
        else:
            return outcome


def _refuse_bad_url(config: Config) -> None:
    """Raise Misdirected if the base URL is not usable. Credentials must not be sent to a wrong address."""
    if config.base_url_problem:
        raise Misdirected(config.base_url_problem)


def _request(spec: RequestSpec, token: str) -> Conversation[Any]:
    """Send one request with immediate retries. `spec.pauses` gives the pause before each retry."""
    budget = spec.budget
    attempt = 0
    while True:
        attempt += 1
        reply: Reply | None = None
        outcome = error = None
        ms = 0
        try:
            reply = yield Request(spec.step, spec.url, spec.payload, token)
            ms = reply.ms
            outcome = spec.read(reply)
        except NoResponse as failure:
            ms, error = failure.ms, _error_for(failure, spec.step)
        except ProviderError as caught:
            error = caught
        budget.spent += ms / 1000
        spec.on_exchange(_exchange(spec.step, attempt, reply, outcome, error, ms))
        if error is None:
            return outcome
        wait = _quick_pause(error, reply, spec.pauses)
        if wait is None or not budget.allows(wait) or (yield Pause(wait)) is False:
            raise error
        budget.spent += wait


def _error_for(failure: NoResponse, step: str) -> ProviderError:
    words = (
        "DMark did not answer in time." if failure.timed_out else f"No complete response from DMark ({failure.cause})."
    )
    # A repeated token or report request is harmless. A repeated send request may cause a second SMS.
    return InDoubt(words) if step == "send" and failure.request_written else ProviderUnavailable(words)


def _quick_pause(error: ProviderError, reply: Reply | None, pauses: Iterator[tuple[float, float]]) -> float | None:
    """Return the seconds to wait before an immediate retry, or None for no immediate retry."""
    if error.ambiguous or not isinstance(error, ProviderUnavailable) or not (pause := next(pauses, None)):
        return None
    wait = random.uniform(*pause)  # noqa: S311
    if reply is not None and 200 <= reply.status < 300:
        return None  # The response is complete but unreadable. A retry would probably get the same response.
    if error.status_code == 429 and error.retry_after is not None:
        return max(wait, error.retry_after) if error.retry_after <= LONGEST_QUICK_RETRY_AFTER else None
    return wait


def _exchange(
    step: str, attempt: int, reply: Reply | None, outcome: object, error: ProviderError | None, ms: int
) -> Exchange:
    # A successful response to a token request contains the token, so the text is not kept.
    shown = reply.text if reply and (step != "token" or error) else ""
    return Exchange(
        step=step,
        attempt=attempt,
        status=reply.status if reply else None,
        provider_id=outcome if step == "send" and isinstance(outcome, str) else "",
        answer=redact(shown),
        error=str(error) if error else "",
        ms=ms,
        trouble=error.trouble.value if error else "",
        ambiguous=bool(error and error.ambiguous),
    )
