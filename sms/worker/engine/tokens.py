"""The engine's access token: used for one second, then requested again, once for all jobs that wait for it."""

import copy
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from sms import clock
from sms.dmark.conversation import AccessToken
from sms.dmark.exchange import Exchange
from sms.errors import ProviderError
from sms.worker.engine.job import Job

# The engine uses a token for up to this many seconds, and then gets a token from the cache again. After half of this
# time it requests the token in the background.
_TOKEN_SECONDS = 1.0


class TokenAnswer(NamedTuple):
    """The answer to a request for a token other than `rejected`.

    `token`: the token, or the error. `exchanges`: the HTTP requests that were made to get it.
    """

    rejected: str
    token: str | ProviderError
    exchanges: list[Exchange]


class TokenQueue:
    """The jobs that wait for an access token.

    `ask` requests a token; its argument is the token that DMark refused, or "". `resume` is called with a job and
    either a token or an error.
    """

    def __init__(
        self, ask: Callable[[str], None], resume: Callable[[Job, AccessToken | None, Exception | None], None]
    ) -> None:
        self._ask_for, self._resume = ask, resume
        self._token, self._until, self._asking = "", 0.0, False
        self._waiters: list[tuple[Job, str]] = []
        # Another thread appends to this queue.
        self.answers: deque[TokenAnswer] = deque()

    def want(self, job: Job, rejected: str) -> None:
        now = clock.monotonic()
        if self._token and self._token != rejected and (now < self._until or self._asking):
            if not self._asking and now > self._until - _TOKEN_SECONDS / 2:
                self._ask("")
            return self._resume(job, AccessToken(self._token), None)
        job.mark("token: waiting for it")
        self._waiters.append((job, rejected))
        if not self._asking:
            self._ask(rejected)
        return None

    def _ask(self, rejected: str) -> None:
        self._asking = True
        self._ask_for(rejected)

    def take_answers(self) -> None:
        while self.answers:
            asked, token, exchanges = self.answers.popleft()
            self._asking = False
            self._token = token if isinstance(token, str) else ""
            self._until = clock.monotonic() + _TOKEN_SECONDS
            waiters, self._waiters = self._waiters, []
            if waiters:
                waiters[0][0].exchanges.extend(exchanges)
            for job, rejected in waiters:
                if isinstance(token, ProviderError):
                    # Each job gets a copy. One exception object in many conversations would collect all their
                    # tracebacks.
                    self._resume(job, None, copy.copy(token))
                elif token == rejected != asked:
                    self._waiters.append((job, rejected))
                else:
                    self._resume(job, AccessToken(token, round((clock.monotonic() - job.since) * 1000)), None)
            if self._waiters and not self._asking:
                self._ask(self._waiters[0][1])
