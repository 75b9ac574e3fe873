"""The worker: claims what is due, gives it to the loop, writes what came of it.

    claim → permit → loop (one thread, all of HTTP) → recorder          (beside them: background.py)

This, the main thread, owns one connection to the database, and alone decides. A claim holds while its lease is renewed;
when this process dies the lease runs out and others claim again. What a `kill -9` may send twice is what is in flight
plus UNWRITTEN, since the loop begins nothing beyond that.
"""

import gc
import logging
import math
import selectors
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from sms import clock, conf
from sms.dmark.exchange import logger as deliveries
from sms.models import SmsMessage, Status
from sms.outbox import NOTIFY_EVERY
from sms.sending import eligibility
from sms.sending.attempt import opening
from sms.sending.claims import claim
from sms.stats import pulse
from sms.text.redaction import mask_phone
from sms.worker import heartbeat
from sms.worker.background import Tokens, keep_house
from sms.worker.breaker import Breaker
from sms.worker.leases import Leases
from sms.worker.listener import Listener
from sms.worker.loop import ENDED, WAITING, Job, Loop
from sms.worker.one_write import one_write
from sms.worker.recorder import Recorder
from sms.worker.waker import Waker

logger = logging.getLogger("sms.worker")

# Outcomes are written when so many wait, or the first has waited for so long.
BATCH_OUTCOMES = 25
UNWRITTEN = 2 * BATCH_OUTCOMES
_GATHER_SECONDS = 0.04
# Claims grow while they come back full and the loop has begun all before the next; what cannot leave soon has to be
# asked again whether it may, so they are small again when something waited too long.
_LARGEST_CLAIM = 256
# A permit is asked again for what waits longer than that: with a throttle its key may have ended meanwhile.
_PERMIT_HOLDS, _THROTTLE_HOLDS = 10.0, 1.0
# A process tells of new texts only so often, so after each NOTIFY there is a second look.
_LOOK_AGAIN = NOTIFY_EVERY + 0.005
_DEAF_POLL = 0.2
_MOST_UNTOLD = 200
_STOP_SECONDS = 26.0
_PROGRESS_SECONDS = 5.0
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Options:
    """`in_flight`: texts with DMark at once; `batch`: rows a claim; `lease`, `poll` and `housekeeping` in seconds."""

    in_flight: int = 64
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
        self.started_at = timezone.now()
        self.breaker, self.bell = Breaker(), Waker()
        self.leases, self.ear = Leases(self.claimer, options.lease), Listener(self.claimer)
        self.tokens = Tokens(self.config)
        self.loop = Loop(
            in_flight=options.in_flight,
            unwritten=UNWRITTEN,
            batch=BATCH_OUTCOMES,
            connect_timeout=self.config.connect_timeout,
            read_timeout=self.config.read_timeout,
            ask_token=self.tokens.ask,
            ring=self.bell.ring,
        )
        self.recorder = Recorder(self.loop, self.breaker)
        self._stop_requested = False
        self._stopping = threading.Event()
        # In hand, and still to be asked whether they may leave.
        self._to_offer: list[Job] = []
        self._first_ended: float | None = None
        self._claim_size, self._more = options.batch, False
        self._last_look = self._next_progress = self._next_beat = 0.0
        self._look_again = False
        self._told = (0, 0)

    def run(self) -> bool:
        """Work until `stop`, or with `once` until nothing is due. True when sending was not paused at the end."""
        # What is loaded by now lives as long as the process: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        self.tokens.start(self.loop.give_token)
        self.loop.start()
        if not self.options.once:
            keep_house(self.breaker, self.ear, self._stopping, self.options.housekeeping)
        while not self._stop_requested:
            try:
                if self._turn():
                    break
            except (OperationalError, InterfaceError) as error:
                self._database_lost(error)
            # A worker that ends leaves every text lying; one that logs and goes on leaves one.
            except Exception:
                logger.exception("sms.worker_error", extra={"event": "sms.worker_error"})
                time.sleep(1.0)
        self._finish()
        return not self.breaker.closed

    def stop(self) -> None:
        """End soon: nothing new is begun, what is in flight is finished. For a signal handler."""
        self._stop_requested = True
        self.bell.ring()

    def _turn(self) -> bool:
        """One round: keep the leases, write, claim, wait. True when `once` is done."""
        self._keep_leases()
        self.leases.judge()
        if not self.options.once:
            self.ear.open()
            self.ear.check()
            self._beat()
        self._progress()
        self._take_ended()
        self.recorder.write()
        found = self._claim()
        self._offer()
        if self.options.once and not found and not self.recorder.in_hand:
            return True
        self.leases.notice_stall()
        self._wait()
        return False

    # --- what is ours

    def _keep_leases(self) -> None:
        in_hand = self.recorder.in_hand
        lost = self.leases.renew(in_hand.keys())
        if lost:
            # Another has them by now, or a report has come. What has begun is finished, and counts if DMark took it.
            kept = [*self.loop.take_back(), *self._to_offer]
            self._to_offer = [job for job in kept if job.message.pk not in lost]
            for job in kept:
                if job.message.pk in lost:
                    del in_hand[job.message.pk]
            for pk in lost & in_hand.keys():
                in_hand[pk].lost = True
            logger.warning("sms.lease_lost", extra={"event": "sms.lease_lost", "messages": len(lost)})
        self._hold()

    def _hold(self) -> None:
        if self.loop.leases_hold_until != self.leases.hold_until:
            self.loop.leases_hold_until = self.leases.hold_until
            self.loop.wake()

    def _claim(self) -> bool:
        """Claim what there is room for, if it is time to look; True when something was found."""
        now, room = time.monotonic(), self._room()
        looks = min(self._next_look(), self.recorder.due_again)
        due = self.options.once or self.ear.heard or now >= looks or self._hungry()
        if not room or not due:
            # There will be room when the loop has begun what it has.
            self.loop.low_water = self._low_water() if due and not self.breaker.closed else self.loop.low_water
            return False
        self._last_look, self._look_again = now, self.ear.heard
        self.ear.heard = False
        if now >= self.recorder.due_again:
            self.recorder.due_again = math.inf
        starved = not self.loop.inbox
        messages = claim(self.claimer, room, self.options.lease, probe=self.breaker.closed)
        self.leases.claimed(now, first=not self.recorder.in_hand)
        self._hold()
        # As many as there was room for: there may be more.
        self._more = len(messages) == room and not self.breaker.closed
        if not self._more:
            self._claim_size = self.options.batch
        elif starved:
            self._claim_size = min(2 * self._claim_size, max(_LARGEST_CLAIM, self.options.in_flight))
        for message in messages:
            job = Job(message, partial(opening, message, self.config))
            self.recorder.in_hand[message.pk] = job
            self._to_offer.append(job)
        return bool(messages)

    def _room(self) -> int:
        if self.breaker.closed:
            probe = not self.options.once and not self.recorder.in_hand and self.breaker.seconds_to_probe() <= 0
            return 1 if probe else 0
        waits = len(self.loop.inbox) > self._low_water() or self.recorder.pending or self._to_offer
        return 0 if waits or self.recorder.teller.behind() > _MOST_UNTOLD else self._claim_size

    def _low_water(self) -> int:
        return self._claim_size // 2

    def _hungry(self) -> bool:
        return self._more and self._room() > 0

    def _next_look(self) -> float:
        poll = min(self.options.poll, _DEAF_POLL) if self.ear.deaf else self.options.poll
        return self._last_look + (_LOOK_AGAIN if self._look_again else poll)

    def _offer(self) -> None:
        """To the loop, those that may leave now; the others have their end, or wait."""
        if not self._to_offer:
            return
        asked_at = time.monotonic()
        refused = eligibility.refused([job.message for job in self._to_offer], self.config, by_table=True)
        now = clock.now()
        jobs, self._to_offer = self._to_offer, []
        holds = _THROTTLE_HOLDS if self.config.rate_limit > 0 else _PERMIT_HOLDS
        for job in jobs:
            job.until = asked_at + min(holds, (job.message.expires_at - now).total_seconds())
            if job.message.pk in refused:
                self.recorder.end(job, refused[job.message.pk])
        self.loop.low_water = self._low_water() if self._more else -1
        self.loop.submit(job for job in jobs if job.message.pk not in refused)

    # --- what came of it

    def _take_ended(self) -> None:
        """Conclude what has ended, once there is a batch of it."""
        waiting, now = self.loop.waiting(), time.monotonic()
        if not waiting or self.recorder.pending:
            return
        self._first_ended = self._first_ended or now
        hurry = self.breaker.closed or self._stop_requested
        if waiting < BATCH_OUTCOMES and now < self._first_ended + _GATHER_SECONDS and not hurry:
            return
        self._first_ended = None
        closed = self.breaker.closed
        with one_write(deliveries):
            # All of it: the slower the database, the larger the batches. The loop bounds how much it can be.
            for job in self.loop.take(self.options.in_flight + UNWRITTEN):
                if job.begun:
                    self.recorder.conclude(job)
                elif job.lost:
                    # It may have been claimed anew.
                    if self.recorder.in_hand.get(job.message.pk) is job:
                        del self.recorder.in_hand[job.message.pk]
                else:
                    self._to_offer.append(job)
                    self._claim_size = self.options.batch
        if self.breaker.closed and not closed:
            self._hand_back()

    def _hand_back(self) -> None:
        self.recorder.hand_back([*self.loop.take_back(), *self._to_offer])
        self._to_offer = []

    # --- waiting

    def _wait(self) -> None:
        end = min(self._next_look(), self.recorder.due_again, self.leases.next_turn(bool(self.recorder.in_hand)))
        if self._first_ended is not None:
            end = min(end, self._first_ended + _GATHER_SECONDS)
        if self.breaker.closed:
            end = min(end, time.monotonic() + 0.5)
        if not self.options.once:
            end = min(end, self._next_beat)
        self._sleep(end)
        with connection.wrap_database_errors:
            self.ear.take()
        self.leases.turn_begins(min(end, time.monotonic()))

    def _sleep(self, end: float) -> None:
        """Until `end` (monotonic), or until there is something to do."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.bell, selectors.EVENT_READ)
            line = self.ear.fileno()
            if line is not None:
                selector.register(line, selectors.EVENT_READ)
            with self.bell.asleep():
                if not self._has_work():
                    selector.select(max(0.0, end - time.monotonic()))
        self.bell.clear()

    def _has_work(self) -> bool:
        waiting = self.loop.waiting()
        ended = waiting >= BATCH_OUTCOMES or (waiting > 0 and self._first_ended is None)
        return ended or bool(self.recorder.pending) or self._hungry() or self._stop_requested != self._stopping.is_set()

    # --- signs of life

    def _beat(self) -> None:
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + pulse.BEAT_SECONDS
            heartbeat.beat(self.claimer, self.started_at, self.recorder.sent, self.breaker.trouble, self.breaker.reason)

    def _flight(self, now: float) -> heartbeat.Flight:
        begun = [job for job in self.recorder.in_hand.values() if job.begun and job.step != ENDED]
        if not begun:
            return heartbeat.Flight()
        longest = min(begun, key=lambda job: job.begun_at)
        return heartbeat.Flight(len(begun), now - longest.begun_at, longest.step)

    def _progress(self) -> None:
        now = time.monotonic()
        if now < self._next_progress:
            return
        (sent, other), self._told = self._told, (self.recorder.sent, self.recorder.other)
        sent, other = self._told[0] - sent, self._told[1] - other
        if self._next_progress and (sent or other):
            in_hand = len(self.recorder.in_hand)
            self.say(f"{timezone.localtime():%H:%M:%S} sent {sent}, not sent {other}, in hand {in_hand}")
        self._next_progress = now + _PROGRESS_SECONDS

    def describe(self) -> str:
        """What is in hand, the longest under way first: which text, at which step, for how long. For people."""
        now = time.monotonic()
        jobs = sorted(self.recorder.in_hand.values(), key=lambda job: (job.step == WAITING, job.since))
        lines = [f"{len(jobs)} in hand, {sum(job.step == WAITING for job in jobs)} of them not begun"]
        for job in jobs[:_SHOWN]:
            of = job.message
            who = f"{of.pk} ({of.kind or 'plain'}) to {mask_phone(of.phone)}"
            lines.append(f"  {who}: {job.step}, for {now - job.since:.1f} s")
        return "\n".join(lines) + "\n"

    # --- trouble and the end

    def _database_lost(self, error: Exception) -> None:
        logger.error("sms.database_lost (%s); trying again", type(error).__name__, extra={"event": "sms.database_lost"})
        connection.close()
        # Whoever else lost it holds outcomes to write: give them a lease's time before anything is claimed again.
        self.leases.put_off()
        time.sleep(0.5)

    def _finish(self) -> None:
        """Hand back what is not begun, wait for what is in flight, write all of it."""
        end = time.monotonic() + _STOP_SECONDS
        self._stopping.set()
        self.loop.drain()
        self._hand_back()
        while self.recorder.in_hand and time.monotonic() < end:
            try:
                self._keep_leases()
                self._take_ended()
                self._hand_back()
                self.recorder.write()
                if self.recorder.in_hand:
                    self._sleep(min(end, time.monotonic() + 0.5))
            except (OperationalError, InterfaceError) as error:
                self._database_lost(error)
        self.loop.quit(1.0)
        self._say_goodbye()
        self.recorder.teller.finish(max(1.0, end - time.monotonic()))
        self.tokens.finish()
        self.bell.close()

    def _say_goodbye(self) -> None:
        """Leave nothing behind: what was cut off, or claimed without knowing it (better twice than not at all)."""
        late = [job for job in self.recorder.in_hand.values() if job.begun and job.step != ENDED]
        if late:
            logger.error("sms.cut_off", extra={"event": "sms.cut_off", "messages": len(late)})
        try:
            for job in late:
                self.recorder.cut_off(job)
            self.recorder.write()
            SmsMessage.objects.filter(status=Status.SENDING, claim=self.claimer).update(
                status=Status.QUEUED, claim="", lease_until=None
            )
            if not self.options.once:
                heartbeat.stop_beating(self.claimer)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("sms.database_lost (%s); this worker's rows stay until they expire", type(error).__name__)
