"""The conversation with DMark, its retries included. Knows no HTTP library, no cache, no database and no clock.

Each conversation is a generator: it yields what it needs (`Request`, `Pause`, `NeedToken`) and is sent the reply; its
return value is the outcome, its exception the failure. A driver does the rest: `blocking` for one at a time, the
worker's loop for many.
"""

import json
import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

from sms.conf import Config
from sms.dmark import responses
from sms.dmark.exchange import Exchange
from sms.dmark.responses import Reply
from sms.errors import AuthenticationFailed, InDoubt, ProviderError, ProviderUnavailable, SmsDisabled
from sms.text.redaction import redact

# The quick retries: pauses in seconds, drawn from these ranges.
PAUSES = ((0.10, 0.25), (0.45, 0.55))
LONGEST_QUICK_RETRY_AFTER = 2.0
# DMark's token is asked for at one of these; a 404 at the one is answered by trying the other.
TOKEN_PATHS = ("/api/get_token/", "/v3/api/get_token/")

T = TypeVar("T")


class Request(NamedTuple):
    """POST `payload` (JSON) to `url`, with the header `authToken: <token>` unless that is empty. Sent in: a Reply."""

    step: str
    url: str
    payload: bytes
    token: str


class Pause(NamedTuple):
    """Sent in: False when there is no time for it, since the process is about to end; else None."""

    seconds: float


class NeedToken(NamedTuple):
    """An access token other than the one that DMark has refused. Sent in: a Given; thrown in: a ProviderError."""

    rejected: str


class Given(NamedTuple):
    """A token, and the milliseconds that it took to get."""

    token: str
    ms: int = 0


class Lost(Exception):
    """Thrown in for a Request that got no whole answer. `written`: DMark may have it; `late`: it was a time-out."""

    def __init__(self, cause: str, *, written: bool, late: bool = False, ms: int = 0) -> None:
        self.cause, self.written, self.late, self.ms = cause, written, late, ms
        super().__init__(cause)


class Token(NamedTuple):
    """A fresh token, and the path that gave it."""

    token: str
    path: str


Note = Callable[[Exchange], None]
Wish: TypeAlias = Request | Pause | NeedToken
Talk: TypeAlias = Generator[Wish, Any, T]


@dataclass(slots=True)
class Budget:
    """Seconds that one text may take: no further request begins when they are spent."""

    seconds: float
    spent: float = 0.0

    def allows(self, pause: float) -> bool:
        return self.spent + pause < self.seconds


class Question(NamedTuple):
    """What is asked, whatever the token; `read` gives the answer's meaning or raises ProviderError."""

    step: str
    url: str
    payload: bytes
    read: Callable[[Reply], Any]
    note: Note
    budget: Budget


def send(
    config: Config,
    number: str,
    text: str,
    dlr_url: str,
    note: Note,
    *,
    kind: str = "",
    budget: Budget | None = None,
) -> Talk[str]:
    """Hand one text to DMark (`number`: 0XXXXXXXXX); returns its id for it, "" where it gave none.

    A request that was written and not answered in full ends it with InDoubt: whether to ask again is the caller's.
    """
    body: dict[str, object] = {"msg": text, "numbers": number, "dlr_url": dlr_url, "scan_ip": False}
    if category := config.categories.get(kind):
        body["category"] = category
    return _with_token(config, "send", config.send_path, body, responses.accepted_id, note, budget)


def report(config: Config, provider_id: str, note: Note) -> Talk[str]:
    """DMark's word for what became of a text, in capitals; "" when it knows none."""
    # Programs send the one or the other.
    body = {"msg_id": provider_id, "msgId": provider_id}
    return _with_token(config, "report", config.dlr_path, body, responses.report, note, None)


def fetch_token(config: Config, note: Note) -> Talk[Token]:
    """A fresh token. Where the path is not known to DMark (404) the other known one is tried once."""
    other = TOKEN_PATHS[0] if config.token_path == TOKEN_PATHS[1] else TOKEN_PATHS[1]
    payload = json.dumps({"username": config.username, "password": config.password}).encode()
    budget = Budget(config.send_budget)
    first: ProviderError | None = None
    for path in (config.token_path, other):
        question = Question("token", config.url(path), payload, responses.access_token, note, budget)
        try:
            return Token((yield from _ask(question, "")), path)
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
    note: Note,
    budget: Budget | None,
) -> Talk[T]:
    if not config.enabled:
        raise SmsDisabled
    budget = budget or Budget(config.send_budget)
    question = Question(step, config.url(path), json.dumps(body).encode(), read, note, budget)
    given: Given = yield NeedToken("")
    budget.spent += given.ms / 1000
    try:
        outcome: T = yield from _ask(question, given.token)
    except responses.StaleToken as error:
        if not budget.allows(0):
            raise ProviderUnavailable(str(error), error.status_code) from None
    else:
        return outcome
    given = yield NeedToken(given.token)
    budget.spent += given.ms / 1000
    try:
        outcome = yield from _ask(question, given.token)
    except responses.StaleToken as error:
        raise AuthenticationFailed(
            f"DMark refuses a fresh token: {error} Check SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD.",
            error.status_code,
        ) from None
    return outcome


def _ask(question: Question, token: str) -> Talk[Any]:
    """One question, with its quick retries."""
    budget = question.budget
    for attempt, pause in enumerate((*PAUSES, None), start=1):
        reply: Reply | None = None
        outcome = error = None
        ms = 0
        try:
            reply = yield Request(question.step, question.url, question.payload, token)
            ms = reply.ms
            outcome = question.read(reply)
        except Lost as lost:
            ms, error = lost.ms, _meaning(lost, question.step)
        except ProviderError as caught:
            error = caught
        budget.spent += ms / 1000
        question.note(_exchange(question.step, attempt, reply, outcome, error, ms))
        if error is None:
            return outcome
        wait = _quick_pause(error, reply, pause)
        if wait is None or not budget.allows(wait) or (yield Pause(wait)) is False:
            raise error
        budget.spent += wait
    raise AssertionError("the last try returns or raises")


def _meaning(lost: Lost, step: str) -> ProviderError:
    words = "DMark did not answer in time." if lost.late else f"No whole answer from DMark ({lost.cause})."
    # A token or a report that is asked for twice costs nothing; a text does.
    return InDoubt(words) if step == "send" and lost.written else ProviderUnavailable(words)


def _quick_pause(error: ProviderError, reply: Reply | None, pause: tuple[float, float] | None) -> float | None:
    """Seconds until the next quick try; None where there is none."""
    if pause is None or error.in_doubt or not isinstance(error, ProviderUnavailable):
        return None
    wait = random.uniform(*pause)  # noqa: S311
    if reply is not None and 200 <= reply.status < 300:
        return None  # complete, only unreadable: it would read the same again
    if error.status_code == 429 and error.retry_after is not None:
        return max(wait, error.retry_after) if error.retry_after <= LONGEST_QUICK_RETRY_AFTER else None
    return wait


def _exchange(
    step: str, attempt: int, reply: Reply | None, outcome: object, error: ProviderError | None, ms: int
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
        ms=ms,
        trouble=error.trouble.value if error else "",
        in_doubt=bool(error and error.in_doubt),
    )
