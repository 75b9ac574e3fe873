"""Determine the results of the worker's messages, store them in batches, and report the worker's activity."""

import io
import logging
import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from django.db import transaction

from sms import clock
from sms.conf import PROVIDER
from sms.database import close_if_unavailable
from sms.dmark.exchange import Exchange, log_exchange
from sms.errors import InDoubt, SmsError
from sms.logs import get_logger
from sms.models import SmsMessage, SmsWorker, Status
from sms.sending import rate_limit
from sms.sending.attempt import Result, conclude, settle
from sms.sending.claims import lock_free
from sms.sending.results import store, take_back
from sms.text.redaction import mask_phone
from sms.worker.background import SignalSender
from sms.worker.breaker import FIRST_PAUSE, Breaker
from sms.worker.engine.loop import UNANSWERED, WAITING, Engine, Job, LeaseExpired

logger = get_logger("sms.worker")
_SHOWN = 20


class Recorder:
    """Determines and stores the results of messages. `in_hand`: the jobs without a stored result, by message id."""

    def __init__(self, engine: Engine, breaker: Breaker) -> None:
        self._engine, self._breaker, self.signals = engine, breaker, SignalSender()
        self.in_hand: dict[int, Job] = {}
        self.pending: list[tuple[Job, Result]] = []
        # Results that the database refuses, or whose rows are locked. They are retried every `retry_after` seconds.
        self.refused: list[tuple[Job, Result]] = []
        self.retry_after, self._retried_at, self._look_for_locks = 30.0, 0.0, False
        self.sent = 0
        # The earliest time (monotonic) at which a retry is due, among the messages that this worker queued again.
        self.due_again = math.inf

    def conclude(self, job: Job) -> None:
        """Determine the result of a job that has ended or was never begun. Never raises an exception."""
        result = None
        try:
            if isinstance(job.ending, LeaseExpired) or not job.begun:
                result = Result(job.message, Status.QUEUED, clock.now(ask=False), exchanges=job.exchanges)
            else:
                result = conclude(job.message, job.ending, job.exchanges)
                self._breaker.record(result)
                for exchange in job.exchanges:
                    log_exchange(job.message, exchange)
        except Exception as error:
            logger.exception("sms.worker_error: a result was not concluded or logged")
            failure = SmsError(f"Internal error ({type(error).__name__}); the log has more.")
            ending = job.ending if isinstance(job.ending, str) else failure
            result = result or conclude(job.message, ending, job.exchanges)
        self.end(job, result)

    def end(self, job: Job, result: Result) -> None:
        self.pending.append((job, settle(result)))

    def cut_off(self, job: Job) -> None:
        """End a message in flight at shutdown. A send request without a response counts as ambiguous."""
        error = InDoubt(f"The worker ended before {PROVIDER} answered.")
        if job.step == UNANSWERED:
            job.exchanges.append(Exchange("send", 1, None, "", "", str(error), 0, error.trouble.value, ambiguous=True))
        self.end(job, conclude(job.message, error, job.exchanges))

    def write(self) -> None:
        """Store the pending results. If the database is unavailable, they stay pending, and its error is re-raised."""
        if self.refused and clock.monotonic() >= self._retried_at + self.retry_after:
            self.pending, self.refused = self.pending + self.refused, []
            self._look_for_locks, self._retried_at = True, clock.monotonic()
        if self.pending and self._look_for_locks:
            self._set_locked_aside()
        if self.pending and not self._store(self.pending):
            # One bad result must not block the others. A result that the database refuses is stored without details.
            for job, result in list(self.pending):
                bare = replace(result, exchanges=[], provider_id="")
                if not self._store([(job, result)]) and not self._store([(job, bare)]):
                    self.refused.append(self.pending.pop(0))
        if self._breaker.taken_back:
            take_back(self._breaker.taken_back, FIRST_PAUSE)
            self._breaker.taken_back = []

    def _set_locked_aside(self) -> None:
        """Set aside the results of rows that another transaction has locked. Otherwise all results would wait."""
        rows = SmsMessage.objects.filter(pk__in=[job.message.pk for job, _ in self.pending])
        with transaction.atomic():
            locked = set(rows.values_list("pk", flat=True)) - lock_free(rows)
        self.refused += [one for one in self.pending if one[0].message.pk in locked]
        self.pending = [one for one in self.pending if one[0].message.pk not in locked]
        self._look_for_locks = False

    def _store(self, batch: list[tuple[Job, Result]]) -> bool:
        """Store `batch`, the first results of `self.pending`. Return False if the database refuses them."""
        try:
            signals = store([result for _, result in batch])
        except Exception as error:
            if close_if_unavailable(error):
                self._look_for_locks = True
                raise
            logger.exception("sms.record_failed: the database refuses a result")
            return False
        self.pending = self.pending[len(batch) :]
        for job, result in batch:
            self.sent += result.status == Status.SENT
            if result.due_at:
                wait = (result.due_at - clock.now(ask=False)).total_seconds()
                self.due_again = min(self.due_again, clock.monotonic() + wait)
            # If this job lost its lease and the worker claimed the message again, `in_hand` holds the new job.
            if self.in_hand.get(job.message.pk) is job:
                del self.in_hand[job.message.pk]
        self._engine.note_recorded(sum(job.begun for job, _ in batch))
        # Free the rate-limit keys of failed jobs, but not if another sender may now have the message.
        failed = [job for job, result in batch if result.frees_rate_limit and not job.lease_lost]
        rate_limit.release_many([job.message for job in failed if not isinstance(job.ending, LeaseExpired)])
        if signals:
            self.signals.send(signals)
        return True


def beat(claimer: str, started_at: datetime, **activity: object) -> None:
    """Write the worker's row. `activity`: columns that describe what the worker is doing."""
    values = {"seen_at": clock.now(), **activity}
    if not SmsWorker.objects.filter(claimer=claimer).update(**values):
        name = f"{socket.gethostname()}:{os.getpid()}"[:100]
        SmsWorker.objects.create(claimer=claimer, name=name, started_at=started_at, **values)


def columns(recorder: Recorder, breaker: Breaker) -> dict[str, object]:
    """Return the values for the worker's database row."""
    in_flight = [job for job in recorder.in_hand.values() if job.in_flight]
    oldest = min(in_flight, key=lambda job: job.begun_at, default=None)
    return {
        "sent": recorder.sent,
        "trouble": breaker.trouble.value,
        "paused": breaker.reason,
        "in_flight": len(in_flight),
        "longest_since": clock.now() - timedelta(seconds=clock.monotonic() - oldest.begun_at) if oldest else None,
        "longest_step": oldest.step if oldest else "",
        "receivers_behind": round(recorder.signals.behind()),
    }


def describe(recorder: Recorder) -> str:
    """Describe up to 20 messages, sorted by time in their current step, longest first. Messages not begun come last."""
    now = clock.monotonic()
    jobs = sorted(recorder.in_hand.values(), key=lambda job: (job.step == WAITING, job.since))
    lines = [f"{len(jobs)} in hand, {sum(job.step == WAITING for job in jobs)} of them not begun"]
    for job in jobs[:_SHOWN]:
        message = job.message
        name = f"{message.pk} ({message.kind or 'plain'}) to {mask_phone(message.phone)}"
        lines.append(f"  {name}: {job.step}, for {now - job.since:.1f} s")
    return "\n".join(lines) + "\n"


@contextmanager
def one_write(logger: logging.Logger) -> Iterator[None]:
    """Collect the lines that this block logs, and write them all at once when the block ends.

    Each separate write could make this thread wait for Python's GIL.
    """
    at: logging.Logger | None = logger
    handlers: list[logging.StreamHandler[io.StringIO]] = []
    while at is not None:
        handlers += [handler for handler in at.handlers if type(handler) is logging.StreamHandler]
        at = at.parent if at.propagate else None
    streams = [handler.stream for handler in handlers]
    for handler in handlers:
        handler.acquire()
        handler.stream = io.StringIO()
    try:
        yield
    finally:
        for handler, stream in zip(handlers, streams, strict=True):
            lines, handler.stream = handler.stream.getvalue(), stream
            handler.release()
            # A failure to write the log must not stop the worker. `handleError` reports it, as for any other log line.
            try:
                if lines:
                    handler.stream.write(lines)
                    handler.flush()
            except Exception:  # noqa: BLE001
                handler.handleError(logging.makeLogRecord({"msg": lines[:500]}))
