"""What came of the texts in hand: concluded, stored in batches, told."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace

from django.db import DatabaseError, InterfaceError, OperationalError

from sms import clock
from sms.dmark.exchange import Exchange, log_exchange
from sms.errors import InDoubt
from sms.models import Status
from sms.sending import rate_limit
from sms.sending.attempt import Outcome, conclude
from sms.sending.results import store, take_back
from sms.sending.retries import settle
from sms.worker.background import Teller
from sms.worker.breaker import FIRST_PAUSE, Breaker
from sms.worker.loop import UNANSWERED, Job, Loop

logger = logging.getLogger("sms.worker")

_REFUSED_AGAIN = 30.0


class Recorder:
    """`in_hand`: every text that this worker holds, by id; what is stored leaves it."""

    def __init__(self, loop: Loop, breaker: Breaker) -> None:
        self._loop, self._breaker = loop, breaker
        self.teller = Teller()
        self.in_hand: dict[int, Job] = {}
        self.pending: list[tuple[Job, Outcome]] = []
        # What the database refuses whatever is left out: held, since to let go of it would be to send it again.
        self._refused: list[tuple[Job, Outcome]] = []
        self._refused_again = 0.0
        self.sent = self.other = 0
        # When the next of what was put back is due, as far as that is known here (monotonic).
        self.due_again = math.inf

    def conclude(self, job: Job) -> None:
        """A conversation has ended."""
        outcome = conclude(job.message, job.result, job.exchanges)
        for exchange in job.exchanges:
            log_exchange(job.message, exchange)
        self._breaker.note(outcome)
        self.end(job, outcome)

    def end(self, job: Job, outcome: Outcome) -> None:
        """This became of a text, begun or not."""
        if outcome.frees_throttle:
            rate_limit.release(job.message.phone, job.message.kind, job.message.pk)
        self.pending.append((job, settle(outcome)))

    def hand_back(self, jobs: Sequence[Job]) -> None:
        """They are not begun, and may be by another."""
        for job in jobs:
            self.end(job, Outcome(job.message, Status.QUEUED, clock.now(ask=False)))

    def cut_off(self, job: Job) -> None:
        """The worker ends, and does not wait for DMark any longer."""
        error = InDoubt("The worker ended before DMark answered.")
        if job.step == UNANSWERED:
            job.exchanges.append(Exchange("send", 1, None, "", "", str(error), 0, error.trouble.value, ambiguous=True))
        self.end(job, settle(conclude(job.message, error, job.exchanges)))

    def write(self) -> None:
        """Store what waits. Raises OperationalError or InterfaceError where the database is away: then once more."""
        if self._refused and time.monotonic() >= self._refused_again:
            self.pending += self._refused
            self._refused = []
        if not self.pending:
            return
        try:
            self._store(self.pending)
        except (OperationalError, InterfaceError):
            raise
        except DatabaseError as error:
            self._say_refused(error)
            # Each alone: one that cannot be stored must not keep the others.
            for job, outcome in list(self.pending):
                self._store_alone(job, outcome)
        if self._breaker.taken_back:
            take_back(self._breaker.taken_back, FIRST_PAUSE)
            self._breaker.taken_back = []

    def _store(self, batch: list[tuple[Job, Outcome]]) -> None:
        news = store([outcome for _, outcome in batch])
        for job, outcome in batch:
            self.sent += outcome.status == Status.SENT
            self.other += outcome.status != Status.SENT
            if outcome.due_at:
                wait = (outcome.due_at - clock.now(ask=False)).total_seconds()
                self.due_again = min(self.due_again, time.monotonic() + wait)
            # The lease may have been lost meanwhile, and the same text be in hand once more.
            if self.in_hand.get(job.message.pk) is job:
                del self.in_hand[job.message.pk]
        self._loop.written(sum(job.begun for job, _ in batch))
        self.pending = self.pending[len(batch) :]
        if news:
            self.teller.tell(news)

    def _store_alone(self, job: Job, outcome: Outcome) -> None:
        # What DMark said may be what cannot be stored; that it took the text, or not, must be.
        for version in (outcome, replace(outcome, exchanges=[], provider_id="")):
            try:
                return self._store([(job, version)])
            except (OperationalError, InterfaceError):
                raise
            except DatabaseError as error:
                self._say_refused(error)
        self.pending.pop(0)
        self._refused.append((job, outcome))
        self._refused_again = time.monotonic() + _REFUSED_AGAIN
        return None

    @staticmethod
    def _say_refused(error: DatabaseError) -> None:
        logger.error("sms.record_failed", exc_info=error, extra={"event": "sms.record_failed"})
