"""The worker: claims what is due, sends it from a pool of threads, writes outcomes in batches.

    claim (main thread) → tasks → senders → outcomes → writer        (beside them: background.py)

Only the main thread and the writer use the database; a sender touches the cache and the network. The queue of outcomes
is bounded, so that a `kill -9` leaves at most what is in flight plus UNWRITTEN texts that will be sent twice. A claim
holds while the main thread renews its lease; when this process dies the lease runs out and others claim again.
"""

import gc
import logging
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, close_old_connections, connection
from django.utils import timezone

from sms import conf
from sms.dmark import blocking
from sms.dmark.exchange import Exchange, log_exchange
from sms.figures import pulse
from sms.models import SmsMessage, Status
from sms.sending import permit, throttle
from sms.sending.attempt import Outcome, conclude, opening
from sms.sending.claims import claim, free_expired_leases, renew_leases
from sms.sending.outcomes import record, take_back
from sms.sending.retries import settle
from sms.worker import background, heartbeat
from sms.worker.breaker import FIRST_PAUSE, Breaker

logger = logging.getLogger("sms.worker")

# Outcomes that wait, and outcomes being written: together the UNWRITTEN that a crash may send twice.
BATCH_OUTCOMES = 25
UNWRITTEN = 2 * BATCH_OUTCOMES
_GATHER_SECONDS = 0.04
_STOP_SECONDS = 26.0
_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Options:
    """`lease`, `poll` and `housekeeping` in seconds; `batch`: rows a claim."""

    threads: int = 64
    batch: int = 48
    lease: float = 15.0
    poll: float = 1.0
    once: bool = False
    housekeeping: float = 60.0


class Worker:
    """One process. `say` prints a line for the operator."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self.options, self.say = options, say
        self.config = conf.current()
        self.claimer = uuid.uuid4().hex
        self.gate = Breaker()
        self.tasks: queue.SimpleQueue[SmsMessage | None] = queue.SimpleQueue()
        # Bounded by a semaphore: `SimpleQueue` costs a third of a `Queue` with a size.
        self.outcomes: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(BATCH_OUTCOMES)
        self.stop_requested = False
        self.stopping = threading.Event()
        self.wake = threading.Event()
        self.probe = 0
        self._lock = threading.Lock()
        self._in_hand: dict[int, SmsMessage] = {}
        self._more = False
        self._sent = self._other = self._total = 0
        self._next_renewal = self._next_reclaim = self._next_progress = self._next_beat = 0.0
        self.started_at = timezone.now()

    # --- the main thread

    def run(self) -> bool:
        """Work until `stop`, or with `once` until nothing is due. True when sending was not paused at the end."""
        # What is loaded by now lives as long as the process: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        senders = [
            threading.Thread(target=self._send, name=f"sms-sender-{number}", daemon=True)
            for number in range(self.options.threads)
        ]
        writer = threading.Thread(target=self._write, name="sms-writer", daemon=True)
        for thread in (*senders, writer):
            thread.start()
        if not self.options.once:
            background.start(self.gate, self.wake, self.stopping, self.options.housekeeping)
        while not self.stop_requested:
            try:
                if self._turn():
                    break
            except (OperationalError, InterfaceError) as error:
                self._database_lost(error)
            # A worker that ends leaves every text lying; one that logs and goes on leaves one.
            except Exception:
                logger.exception("sms.worker_error", extra={"event": "sms.worker_error"})
                time.sleep(1.0)
        self._finish(senders, writer)
        return not self.gate.closed

    def stop(self) -> None:
        """End soon: nothing new is begun, what is in flight is finished.

        For a signal handler, so it takes no lock: the thread it interrupts may hold that very one.
        """
        self.stop_requested = True

    def _turn(self) -> bool:
        """One round: keep the leases, claim, wait. True when `once` is done."""
        now = time.monotonic()
        self._keep_leases(now)
        self._beat(now)
        self._progress(now)
        claimed, room = self._claim()
        # As many as there was room for: there may be more.
        if claimed and claimed == room:
            return False
        if self.options.once and not claimed and not self._in_hand:
            return True
        end = now + (0.05 if self.options.once else self.options.poll)
        while not self.stop_requested and (left := end - time.monotonic()) > 0:
            if self.wake.wait(min(left, 0.5)):
                break
        self.wake.clear()
        close_old_connections()
        return False

    def _claim(self) -> tuple[int, int]:
        """How many texts were claimed, and how many there was room for."""
        if self.gate.closed:
            if self.options.once or self._in_hand or self.gate.seconds_to_probe() > 0:
                return 0, 0
            room = 1
        else:
            room = self.options.batch if self.tasks.qsize() <= self.options.batch // 2 else 0
        if not room:
            return 0, 0
        messages = claim(self.claimer, room, self.options.lease)
        self._more = len(messages) == self.options.batch
        if self.gate.closed and messages:
            self.probe = messages[0].pk
        with self._lock:
            self._in_hand.update((message.pk, message) for message in messages)
        refused = permit.refused(messages, self.config, by_table=True)
        for message in messages:
            if message.pk in refused:
                self._room.acquire()
                self.outcomes.put(settle(refused[message.pk]))
            else:
                self.tasks.put(message)
        return len(messages), room

    def _keep_leases(self, now: float) -> None:
        if now >= self._next_renewal:
            self._next_renewal = now + self.options.lease / 3
            # By id: a claim whose answer was lost on the way is nobody's, and its lease must run out.
            with self._lock:
                in_hand = list(self._in_hand)
            if in_hand:
                renew_leases(self.claimer, in_hand, self.options.lease)
        if now >= self._next_reclaim:
            self._next_reclaim = now + max(1.0, self.options.lease / 3)
            if freed := free_expired_leases():
                logger.warning("sms.reclaimed", extra={"event": "sms.reclaimed", "messages": freed})

    def _beat(self, now: float) -> None:
        if now >= self._next_beat and not self.options.once:
            self._next_beat = now + pulse.BEAT_SECONDS
            heartbeat.beat(self.claimer, self.started_at, self._total, self.gate.trouble, self.gate.reason)

    def _database_lost(self, error: Exception) -> None:
        logger.error("sms.database_lost (%s); trying again", type(error).__name__, extra={"event": "sms.database_lost"})
        connection.close()
        # Whoever else lost it holds outcomes to write: give them a lease's time before anything is claimed again.
        self._next_reclaim = time.monotonic() + self.options.lease
        self._next_renewal = 0.0
        time.sleep(0.5)

    def _progress(self, now: float) -> None:
        if now < self._next_progress:
            return
        sent, other = self._sent, self._other
        if self._next_progress and (sent or other):
            self.say(f"{timezone.localtime():%H:%M:%S} sent {sent}, not sent {other}, in hand {len(self._in_hand)}")
            self._sent -= sent
            self._other -= other
        self._next_progress = now + _PROGRESS_SECONDS

    def _finish(self, senders: list[threading.Thread], writer: threading.Thread) -> None:
        """Hand back what is not begun, wait for what is in flight, write all of it."""
        end = time.monotonic() + _STOP_SECONDS
        self.stopping.set()
        for _ in senders:
            self.tasks.put(None)
        for thread in senders:
            thread.join(max(0.0, end - time.monotonic()))
        late = sum(thread.is_alive() for thread in senders)
        self.outcomes.put(None)
        writer.join(max(1.0, end + 2 - time.monotonic()))
        if late:
            logger.error("sms.cut_off", extra={"event": "sms.cut_off", "messages": late})
        self._say_goodbye(hand_back=bool(late) or not writer.is_alive())
        if late or writer.is_alive():
            os._exit(0)  # a thread that hangs in a request would keep the process

    def _say_goodbye(self, hand_back: bool) -> None:
        """Leave nothing behind: a text cut off (better twice than not at all), or claimed without knowing it."""
        try:
            if hand_back:
                SmsMessage.objects.filter(status=Status.SENDING, claim=self.claimer).update(
                    status=Status.QUEUED, claim="", lease_until=None
                )
            if not self.options.once:
                heartbeat.stop_beating(self.claimer)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("sms.database_lost (%s); this worker's rows stay until they expire", type(error).__name__)

    # --- the senders

    def _send(self) -> None:
        while (message := self.tasks.get()) is not None:
            if self._more and self.tasks.qsize() <= self.options.batch // 2:
                self.wake.set()
            if self.stopping.is_set() or (self.gate.closed and message.pk != self.probe):
                outcome = Outcome(message, Status.QUEUED, timezone.now())
            else:
                exchanges: list[Exchange] = []
                talk = opening(message, self.config, exchanges.append)
                result: str | Exception
                try:
                    result = blocking.run(
                        talk, self.config, exchanges.append, lambda pause: not self.stopping.wait(pause)
                    )
                except Exception as error:  # noqa: BLE001  # whatever it was, the text needs an end
                    result = error
                outcome = conclude(message, result, exchanges)
                with self._lock:
                    self.gate.note(outcome)
            if outcome.frees_throttle:
                throttle.release(message.phone, message.kind, message.pk)
            self._room.acquire()
            self.outcomes.put(settle(outcome))

    def _pause(self, seconds: float) -> bool:
        return not self.stopping.wait(seconds)

    # --- the writer

    def _write(self) -> None:
        while batch := self._gather():
            for outcome in batch:
                for exchange in outcome.exchanges:
                    log_exchange(outcome.message, exchange)
            while not self._written(batch):
                time.sleep(0.5)
            if self.gate.taken_back:
                ids, self.gate.taken_back = self.gate.taken_back, []
                take_back(ids, FIRST_PAUSE)
            with self._lock:
                for outcome in batch:
                    self._in_hand.pop(outcome.message.pk, None)
            sent = sum(outcome.status == Status.SENT for outcome in batch)
            self._sent += sent
            self._total += sent
            self._other += len(batch) - sent
            if self.gate.closed or self.options.once:
                self.wake.set()
        connection.close()

    def _gather(self) -> list[Outcome]:
        """The next outcomes: what comes within a moment of the first; empty at the end."""
        first = self.outcomes.get()
        if first is None:
            return []
        self._room.release()
        batch = [first]
        end = time.monotonic() + _GATHER_SECONDS
        while len(batch) < BATCH_OUTCOMES:
            try:
                following = self.outcomes.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                break
            if following is None:
                self.outcomes.put(None)  # for the next call
                break
            self._room.release()
            batch.append(following)
        return batch

    def _written(self, batch: list[Outcome]) -> bool:
        """Record the batch; False when the database is away and it must be tried again."""
        try:
            record(batch)
        except (OperationalError, InterfaceError) as error:
            logger.error("sms.database_lost (%s); outcomes wait", type(error).__name__)
            connection.close()
            return False
        except DatabaseError:
            logger.exception("sms.record_failed", extra={"event": "sms.record_failed"})
            if len(batch) > 1:
                # Each alone: one that cannot be stored must not keep the others.
                return not [outcome for outcome in batch if not self._written([outcome])]
            # What DMark said cannot be stored; that it took the text, or not, must be.
            return not batch[0].exchanges or self._written([replace(batch[0], exchanges=[], provider_id="")])
        return True
