"""Get the engine's access token in a thread, from the cache or from DMark. All jobs share the token."""

import copy
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sms import clock, conf, runtime
from sms.dmark import blocking
from sms.dmark.conversation import AccessToken
from sms.dmark.exchange import Exchange
from sms.errors import ProviderError, ProviderUnavailable
from sms.logs import get_logger

if TYPE_CHECKING:
    from sms.worker.engine.loop import Job

logger = get_logger("sms.worker")

# Jobs share a token for about this many seconds. Then the cache is read again.
_TOKEN_SECONDS = 1.0


class TokenQueue:
    """The jobs that wait for an access token, and a thread that gets the token from the cache or from DMark.

    `resume`: called in the engine's thread with a job and either a token or an error. `wake`: called in the queue's own
    thread after each addition to `answers`.
    """

    def __init__(
        self,
        config: conf.Config,
        resume: "Callable[[Job, AccessToken | None, Exception | None], None]",
        wake: Callable[[], None],
    ) -> None:
        self._config, self._resume, self._wake = config, resume, wake
        self._token, self._until, self._asking = "", 0.0, False
        self._waiters: list[tuple[Job, str]] = []
        self.asked: Any = runtime.current.queue()
        self.answers: deque[tuple[str, str | ProviderError, list[Exchange]]] = deque()

    def start(self) -> runtime.Thread:
        return runtime.current.start(self._run, "sms-tokens")

    def _run(self) -> None:
        while (rejected := self.asked.get()) is not None:
            exchanges: list[Exchange] = []
            token: str | ProviderError
            try:
                token = blocking.token(self._config, exchanges.append, rejected)
            except ProviderError as error:
                token = error
            # Pass on even an unexpected error. Otherwise the messages that need the token would wait forever.
            except Exception as error:
                logger.exception("sms.worker_error: the thread continues")
                token = ProviderUnavailable(f"Internal error ({type(error).__name__}); the log has more.")
            self.answers.append((rejected, token, exchanges))
            self._wake()

    def want(self, job: "Job", rejected: str) -> None:
        now = clock.monotonic()
        if self._token and self._token != rejected and (now < self._until or self._asking):
            if now > self._until - _TOKEN_SECONDS / 2:
                self._ask("")
            return self._resume(job, AccessToken(self._token), None)
        job.mark("token: waiting for it")
        self._waiters.append((job, rejected))
        return self._ask(rejected)

    def _ask(self, rejected: str) -> None:
        if not self._asking:
            self._asking = True
            self.asked.put(rejected)

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
                    # Each job gets a copy of the error. A shared error would collect the tracebacks of all jobs.
                    self._resume(job, None, copy.copy(token))
                elif token == rejected != asked:
                    self._waiters.append((job, rejected))
                else:
                    self._resume(job, AccessToken(token, round((clock.monotonic() - job.since) * 1000)), None)
            if self._waiters:
                self._ask(self._waiters[0][1])
