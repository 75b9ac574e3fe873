"""The worker: it claims due messages, gives them to the engine, and records the results.

The path of a message: claim → eligibility check → engine (sends all messages, in one thread) → recorder.

The main thread makes all decisions. If this process is killed, its claims expire and other workers send the messages.
At most `in_flight` + UNRECORDED messages may then be sent a second time.
"""

import gc
import math
import selectors
import uuid
from dataclasses import dataclass
from functools import partial

from django.db import connection

from sms import clock, conf, runtime
from sms.database import close_if_unavailable, sqlstate
from sms.dmark.exchange import logger as deliveries
from sms.logs import get_logger
from sms.models import SmsMessage, SmsWorker, Status
from sms.outbox import NOTIFY_EVERY
from sms.sending import eligibility
from sms.sending.attempt import send_conversation
from sms.sending.claims import ExpiredLeaseReaper, claim, count_ahead, renew_leases
from sms.stats import status
from sms.worker.background import Periodic, StatementTimeout
from sms.worker.breaker import Breaker
from sms.worker.engine.loop import Engine, Job
from sms.worker.listener import Listener
from sms.worker.recorder import Recorder, beat, columns, one_write
from sms.worker.waker import Waker

logger = get_logger("sms.worker")

# Results are stored when 25 of them are waiting, or when the first one has waited for 40 ms.
BATCH = 25
UNRECORDED = 2 * BATCH
_GATHER_SECONDS = 0.04
# The claim size doubles if the engine runs out of messages, up to this number or `in_flight`, whichever is larger.
_LARGEST_CLAIM = 256
# Longest time in seconds from the eligibility check to the start of sending: without a rate limit, and with one.
_ELIGIBLE_SECONDS, _RATE_LIMIT_SECONDS = 10.0, 1.0
_SLOW_ELIGIBILITY = 1.0
# After a NOTIFY, the worker searches for messages twice, this many seconds apart. The second search finds messages that
# were queued without a NOTIFY (see NOTIFY_EVERY).
_LOOK_AGAIN = NOTIFY_EVERY + 0.005
_POLLING_ONLY_SECONDS = 0.2
_STOP_SECONDS = 26.0


class ThreadEnded(Exception):
    """A thread of this process has ended. The process then ends too, so that the service manager restarts it."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a worker, with times in seconds.

    `in_flight`: largest number of messages being sent at once. `batch`: initial number of rows per claim. `lease`: time
    for which a claim is valid. `poll`: time between searches for due messages. `once`: end if no message is due or the
    breaker is open.
    """

    in_flight: int = 64
    batch: int = 48
    lease: float = 15.0
    poll: float = 1.0
    once: bool = False
    maintenance: float = 60.0


class Worker:
    def __init__(self, options: Options) -> None:
        self.options, self.config = options, conf.current()
        self.claimer, self.started_at = uuid.uuid4().hex, clock.current.utc()
        self.breaker, self.waker = Breaker(), Waker()
        self.reaper, self.listener = ExpiredLeaseReaper(options.lease), Listener(self.claimer)
        self.engine = Engine(self.config, options.in_flight, UNRECORDED, BATCH, self.waker.wake)
        self.recorder = Recorder(self.engine, self.breaker)
        self.statement_timeout = StatementTimeout(max(2.0, options.lease * 2 / 3))
        # The threads that the worker needs, by name. If one of them ends, the worker ends too.
        self._threads: dict[str, runtime.Thread] = {}
        self._stop_requested = False
        self._stopping = runtime.current.event()
        # After this time (monotonic), the worker ends even if requests have no response.
        self._end = math.inf
        # Claimed messages whose eligibility must still be checked.
        self._to_offer: list[Job] = []
        self._first_ended: float | None = None
        # `_more`: True if the last claim reached its limit. More messages are probably due then.
        self._claim_size, self._more = options.batch, False
        self._last_look, self._look_again = -math.inf, False
        self._next_renewal = self._next_beat = 0.0

    def run(self) -> bool:
        """Work until `stop` is called. Return True if the circuit breaker is closed.

        With the option `once`, also end when no message can be claimed. Raises ThreadEnded if a thread that the worker
        needs has ended.
        """
        # Let the garbage collector ignore the objects created so far: they are needed until the process ends.
        gc.collect()
        gc.freeze()
        self._threads = {
            "the statement timeout": self.statement_timeout.watch(),
            "access tokens": self.engine.tokens.start(),
            "requests": self.engine.start(),
        }
        if not self.options.once:
            periodic = Periodic(self.breaker, self.listener, self._stopping, self.options.maintenance)
            self._threads["maintenance"] = periodic.start()
        dead, done = "", False
        while not done and clock.monotonic() < self._end:
            try:
                done = self._turn()
            except Exception as error:  # noqa: BLE001 - logged
                self._recover(error)
            if self._stop_requested:
                done = done or not self.recorder.in_hand or not self._threads["requests"].is_alive()
            elif dead := next((name for name, thread in self._threads.items() if not thread.is_alive()), ""):
                self.stop()
        self._stopping.set()
        self.engine.quit(1.0)
        self._leave()
        self.recorder.signals.finish(max(1.0, min(_STOP_SECONDS, self._end - clock.monotonic())))
        self.statement_timeout.stop()
        self.waker.close()
        if dead:
            raise ThreadEnded(f"The thread for {dead} has ended.")
        return not self.breaker.is_open

    def stop(self) -> None:
        """Begin no new message, finish the messages in flight, and end. Safe to call in a signal handler."""
        self._stop_requested, self.recorder.retry_after = True, 2.0
        self._end = self.statement_timeout.end = min(self._end, clock.monotonic() + _STOP_SECONDS)
        self.waker.wake()

    def _turn(self) -> bool:
        """Renew leases, store results, claim messages, start sending, sleep. Return True if the worker is done."""
        stopping = self._stop_requested
        if stopping and not self._stopping.is_set():
            self._stopping.set()
            self.engine.draining = True
            self.engine.waker.wake()
        self._keep_leases()
        self.reaper.look()
        if not self.options.once:
            self.listener.open()
            self.listener.check()
            if clock.monotonic() >= self._next_beat:
                self._next_beat = clock.monotonic() + status.BEAT_SECONDS
                beat(self.claimer, self.started_at, **columns(self.recorder, self.breaker))
        self._count_repeats()
        self._take_ended()
        self.recorder.write()
        found = self._claim()
        if stopping:
            self._hand_back()
        else:
            self._offer()
        self.recorder.write()
        if (self.options.once or stopping) and not found and not self.recorder.in_hand:
            return True
        self._sleep()
        self.listener.take()
        return False

    def _keep_leases(self) -> None:
        in_hand, now = self.recorder.in_hand, clock.monotonic()
        if not in_hand or now < self._next_renewal:
            return
        lost = in_hand.keys() - renew_leases(self.claimer, in_hand.keys(), self.options.lease)
        self._hold_leases(now)
        if lost:
            # The requests for these messages continue, but without a lease only an acceptance by DMark is stored.
            for pk in lost:
                in_hand[pk].lose_lease()
            logger.warning("sms.lease_lost: %d messages lost their lease", len(lost), extra={"messages": len(lost)})

    def _hold_leases(self, asked_at: float) -> None:
        """Record that this worker's leases are valid for one lease time from `asked_at` (monotonic)."""
        self._next_renewal = asked_at + self.options.lease / 3
        self.engine.leases_hold_until = asked_at + self.options.lease
        self.engine.waker.wake()

    def _claim(self) -> bool:
        """Claim messages if a claim is due and there is room for them. Return True if a message was claimed."""
        room, now = self._room(), clock.monotonic()
        if not room or not (self.options.once or self.listener.notified or now >= self._next_claim()):
            return False
        self._last_look, self._look_again = now, self.listener.notified
        self.listener.notified = False
        if now >= self.recorder.due_again:
            self.recorder.due_again = math.inf
        starved = not self.engine.inbox
        messages = claim(self.claimer, room, self.options.lease, probe=self.breaker.is_open)
        if not self.recorder.in_hand:
            self._hold_leases(now)
        self._more = len(messages) == room and not self.breaker.is_open
        if not self._more:
            self._claim_size = self.options.batch
        elif starved:
            self._claim_size = min(2 * self._claim_size, max(_LARGEST_CLAIM, self.options.in_flight))
        for message in messages:
            if earlier := self.recorder.in_hand.get(message.pk):
                earlier.lose_lease()
            job = Job(message, partial(send_conversation, message, self.config))
            self.recorder.in_hand[message.pk] = job
            self._to_offer.append(job)
        return bool(messages)

    def _room(self) -> int:
        if self._stop_requested:
            return 0
        if self.breaker.is_open:
            # A probe waits for jobs in hand, but not for results that the database refuses.
            waits = self.options.once or len(self.recorder.in_hand) > len(self.recorder.refused)
            return int(not waits and self.breaker.seconds_to_probe() <= 0)
        full = len(self.engine.inbox) > self._claim_size // 2 or self.recorder.pending or self._to_offer
        return 0 if full else self._claim_size

    def _next_claim(self) -> float:
        if self._more or self.listener.notified:
            return 0.0
        poll = min(self.options.poll, _POLLING_ONLY_SECONDS) if self.listener.polling_only else self.options.poll
        return min(self._last_look + (_LOOK_AGAIN if self._look_again else poll), self.recorder.due_again)

    def _offer(self) -> None:
        """Give the engine the claimed messages that may be sent now. Record results for the others."""
        if not self._to_offer:
            return
        jobs = self._to_offer
        asked_at = clock.monotonic()
        # Jobs that have lost their lease skip the eligibility check. The engine ends them without a send request.
        mine = [job.message for job in jobs if not job.lease_lost]
        refused = eligibility.refused(mine, self.config, by_table=True)
        self._to_offer = []
        answered_at, now = clock.monotonic(), clock.now(ask=False)
        if answered_at - asked_at > _SLOW_ELIGIBILITY:
            text = "sms.slow_eligibility: the check of %d messages took %.1f s (their owners, the cache)"
            logger.warning(text, len(jobs), answered_at - asked_at)
        seconds = _RATE_LIMIT_SECONDS if self.config.rate_limit > 0 else _ELIGIBLE_SECONDS
        for job in jobs:
            # The time limit starts at the end of the eligibility check. Otherwise a slow check could stop all sending.
            job.until = answered_at + min(seconds, (job.message.expires_at - now).total_seconds())
            if job.message.pk in refused:
                self.recorder.end(job, refused[job.message.pk])
        self.engine.submit(job for job in jobs if job.message.pk not in refused)

    def _count_repeats(self) -> None:
        """Count each repeated send request as ambiguous in its message's row. Then let the engine send the request."""
        if not (waiting := list(self.engine.uncounted)):
            return
        kept = count_ahead(self.claimer, [job.message.pk for job, _ in waiting])
        for job, _ in waiting:
            if job.message.pk not in kept:
                job.lose_lease()
        self.engine.write_counted(len(waiting))

    def _take_ended(self) -> None:
        """Determine, in batches, the results of the jobs that have ended."""
        waiting, now = len(self.engine.ended), clock.monotonic()
        if not waiting or self.recorder.pending:
            return
        self._first_ended = self._first_ended or now
        if waiting < BATCH and now < self._first_ended + _GATHER_SECONDS:
            return
        self._first_ended = None
        was_open = self.breaker.is_open
        with one_write(deliveries):
            # Take all ended jobs at once, so that batches grow if the database is slow.
            for job in self.engine.take():
                if job.begun:
                    self.recorder.conclude(job)
                else:
                    self._to_offer.append(job)
                    self._claim_size = self.options.batch
        if self.breaker.is_open and not was_open:
            self._hand_back()

    def _hand_back(self) -> None:
        """Queue again the claimed messages that the engine has not begun to send."""
        for job in (*self.engine.take_back(), *self._to_offer):
            self.recorder.conclude(job)
        self._to_offer = []

    def _next_turn(self) -> float:
        """Return the time (monotonic) until which the worker may sleep. If there is work, this time is in the past."""
        waiting, stops = len(self.engine.ended), self._stop_requested and not self._stopping.is_set()
        if self.engine.uncounted or waiting >= BATCH or (waiting and self._first_ended is None) or stops:
            return 0.0
        times = [self.reaper.next_look, self._end]
        if self.recorder.in_hand:
            times.append(self._next_renewal)
        elif wait := self.breaker.seconds_to_probe():
            times.append(clock.monotonic() + wait)
        if self._first_ended is not None:
            times.append(self._first_ended + _GATHER_SECONDS)
        if self._room():
            times.append(self._next_claim())
        if not self.options.once:
            times.append(self._next_beat)
        return min(times)

    def _sleep(self) -> None:
        """Sleep until there is work or an event arrives."""
        self.engine.low_water = -1 if self._room() or self.breaker.is_open else self._claim_size // 2
        with runtime.current.selector() as selector:
            selector.register(self.waker, selectors.EVENT_READ)
            if (listening := self.listener.fileno()) is not None:
                selector.register(listening, selectors.EVENT_READ)
            self.waker.sleep(selector, self._next_turn)

    def _recover(self, error: Exception) -> None:
        """Log an exception and wait a moment, so that the worker can continue."""
        if not close_if_unavailable(error):
            logger.error("sms.worker_error: the worker continues", exc_info=error)
            runtime.current.sleep(1.0)
        elif sqlstate(error).startswith("40"):
            # A deadlock or a serialization failure. The database is available, so the worker tries again soon.
            logger.warning("sms.database_conflict: trying again")
            runtime.current.sleep(0.05)
        else:
            logger.error("sms.database_lost: %s; trying again", type(error).__name__)
            self._next_renewal = 0.0
            runtime.current.sleep(0.5)

    def _leave(self) -> None:
        """Store the last results and cut off requests in flight. Queue again messages whose sending has not begun."""
        for job in self.engine.take():
            self.recorder.conclude(job)
        if late := [job for job in self.recorder.in_hand.values() if job.in_flight]:
            logger.error("sms.cut_off: %d requests had no answer", len(late), extra={"messages": len(late)})
        try:
            for job in late:
                self.recorder.cut_off(job)
            self.recorder.write()
            # A message whose result could not be stored stays claimed until its lease expires.
            unrecorded = [pk for pk, job in self.recorder.in_hand.items() if job.begun]
            claimed = SmsMessage.objects.filter(status=Status.SENDING, claim=self.claimer)
            claimed.exclude(pk__in=unrecorded).update(status=Status.QUEUED, claim="", lease_until=None)
            if not self.options.once:
                SmsWorker.objects.filter(claimer=self.claimer).delete()
        except Exception as error:
            if not close_if_unavailable(error):
                logger.exception("sms.worker_error: the worker ends anyway")
                connection.close()
            logger.warning("sms.database_lost: %s; this worker's rows stay until they expire", type(error).__name__)
