"""The simulated world: processes, database, cache and provider, the replaced modules, and the invariants."""

import gc
import logging
import os
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pycurl
from django.db import DatabaseError, OperationalError, connection, connections
from django.db.backends.signals import connection_created
from django.db.backends.sqlite3.base import SQLiteCursorWrapper
from django.utils import timezone

from sms import alerts, clock, conf, outbox, owners, runtime
from sms import cache as sms_cache
from sms.dlr import polling
from sms.dmark import access_token, blocking
from sms.dmark.exchange import log_exchange
from sms.models import SmsMessage, Status
from sms.sending import rate_limit
from sms.signals import sms_sent
from sms.worker import background, recorder
from sms.worker.worker import UNRECORDED, Options, Worker
from tests.simulation.network import Provider, SimCurl, SimMulti
from tests.simulation.runtime import BASE, SimClock, SimRuntime
from tests.simulation.scheduler import Killed, Process, Scheduler, Spinning

LEASE, IN_FLIGHT = 6.0, 8
_check_alerts = alerts.check
CONFIG = replace(
    conf.current(),
    base_url="http://127.0.0.1:9",
    username="u",
    password="p",
    connect_timeout=1.0,
    read_timeout=3.0,
    rate_limit=0,
    lease=LEASE,
    delivery="worker",
    life=3600.0,
    categories={},
)


# Django converts the placeholders of each statement, and looks up the connection of the thread at each use of
# `connection`. Without these two, the simulation takes 8% less CPU.
_convert: Any = SQLiteCursorWrapper.convert_query
_converted = lru_cache(maxsize=2000)(lambda query: _convert(None, query))


def _convert_once(cursor: Any, query: str, *, param_names: Any = None) -> Any:
    return _converted(query) if param_names is None else _convert(cursor, query, param_names=param_names)


class Violation(AssertionError):
    """An invariant is violated. `invariant`: its number in docs/simulation.md."""

    def __init__(self, invariant: int, text: str) -> None:
        self.invariant = invariant
        super().__init__(f"invariant {invariant}: {text}")


class _Wrappers:
    """Replaces Django's execute wrappers.

    Each simulated process has its own list, although all share one connection.
    """

    def __init__(self, world: "World") -> None:
        self._world = world

    def _list(self) -> list[Any]:
        task = self._world.scheduler.current
        return task.process.wrappers if task else []

    def append(self, wrapper: Any) -> None:
        self._list().append(wrapper)

    def remove(self, wrapper: Any) -> None:
        self._list().remove(wrapper)

    def __contains__(self, wrapper: Any) -> bool:
        return wrapper in self._list()

    def __reversed__(self) -> Iterator[Any]:
        yield self._world.execute
        yield from reversed(self._list())


class _Fetches:
    """Replaces `access_token._fetches`. Each simulated process has its own dict."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def _dict(self) -> dict[str, Any]:
        task = self._world.scheduler.current
        assert task
        return task.process.fetches

    def get(self, key: str) -> Any:
        return self._dict().get(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._dict()[key] = value

    def __delitem__(self, key: str) -> None:
        del self._dict()[key]


class _Pipeline:
    def __init__(self, cache: "SimCache") -> None:
        self._cache, self._adds = cache, list[tuple[str, Any, float]]()

    def execute(self) -> list[bool]:
        self._cache.trip()
        return [self._cache.add_now(*entry) for entry in self._adds]


class _Client:
    def __init__(self, cache: "SimCache") -> None:
        self._cache = cache

    def get_client(self, write: bool = True) -> Any:
        return self

    def pipeline(self, transaction: bool = False) -> _Pipeline:
        return _Pipeline(self._cache)

    def add(self, key: str, value: Any, seconds: float, client: _Pipeline) -> None:
        client._adds.append((key, value, seconds))


class SimCache:
    """A fake Redis. Each call takes one round trip."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._data: dict[str, tuple[Any, float]] = {}
        self.latency, self.slowest, self.gone, self.was_gone = 0.0005, 0.0005, False, False
        self.client = _Client(self)
        # The time at which each value was last written, by key and holder.
        self.written: dict[tuple[str, str], float] = {}

    def trip(self) -> None:
        self.slowest = max(self.slowest, self.latency)
        self._scheduler.park(self.latency)
        if self.gone:
            self.was_gone = True
            raise ConnectionError("the cache is gone")

    def _read(self, key: str) -> Any:
        value, until = self._data.get(key, (None, 0.0))
        return value if until > self._scheduler.now else None

    def add_now(self, key: str, value: Any, seconds: float) -> bool:
        if self._read(key) is not None:
            return False
        self._write(key, value, seconds)
        return True

    def _write(self, key: str, value: Any, seconds: float) -> None:
        self._data[key] = (value, self._scheduler.now + seconds)
        self.written[key, str(value).partition("@")[0]] = self._scheduler.now

    def add(self, key: str, value: Any, seconds: float) -> bool:
        self.trip()
        return self.add_now(key, value, seconds)

    def get(self, key: str) -> Any:
        self.trip()
        return self._read(key)

    def get_many(self, keys: list[str]) -> dict[str, Any]:
        self.trip()
        return {key: value for key in keys if (value := self._read(key)) is not None}

    def set(self, key: str, value: Any, seconds: float) -> None:
        self.trip()
        self._write(key, value, seconds)

    def set_many(self, entries: dict[str, Any], seconds: float) -> list[str]:
        self.trip()
        for key, value in entries.items():
            self._write(key, value, seconds)
        return []

    def delete(self, key: str) -> bool:
        self.trip()
        return self._data.pop(key, None) is not None

    def delete_many(self, keys: list[str]) -> None:
        self.trip()
        for key in keys:
            self._data.pop(key, None)


class _SimWorker(Worker):
    process: Process
    world: "World"

    def _sleep(self) -> None:
        self.process.turns += 1
        self.world.check_turns(self.process)
        super()._sleep()


class World:
    """The state of one simulation. Create it with `simulated`."""

    def __init__(self, seed: object, *, rate_limit: int = 0) -> None:
        self.seed = seed
        self.scheduler = Scheduler(seed)
        self.runtime, self.clock = SimRuntime(self.scheduler), SimClock(self.scheduler)
        self.cache, self.provider = SimCache(self.scheduler), Provider(self.scheduler)
        self.config = replace(CONFIG, rate_limit=rate_limit)
        self.processes: list[Process] = []
        self.schedule: list[str] = []
        self.kills = self.statements = self.errors = 0
        self.clock_stepped = False
        self.judge_seconds = self.slowest_judge = self.receiver_seconds = 0.0
        # Numbers of the messages for which logging the result raises an exception.
        self.defective: set[int] = set()
        self.maintenance = 1e9
        self.without_workers = self._freeing = False
        # Additional seconds that this simulation needs.
        self.more_seconds = 0.0
        self._shut_down: Callable[[Any], None] = self._abort_statement
        self.last_fault = 0.0
        self.freed: Counter[int] = Counter()
        self.violation: Violation | None = None
        self.phones: dict[int, str] = {}
        self.resends: defaultdict[int, list[float]] = defaultdict(list)
        self.site = self.process("site")
        self.provider.on_written = self._check_written
        self.provider.on_polled = self._check_polled
        self.provider.note_accepted = self._note_accepted
        # By phone: for each accepted row, the time at which its rate-limit key was taken.
        self.accepted_by_phone: defaultdict[str, dict[int, float]] = defaultdict(dict)
        self.scheduler.call_at(1.0, self._watch)

    # --- time and events

    @property
    def now(self) -> float:
        return self.scheduler.now

    def at(self, when: float, what: str, call: Callable[..., object], *arguments: Any) -> None:
        """Schedule a fault or an operator's action. `what` is its line in the printed schedule."""
        self.schedule.append(f"{when:7.2f} {what}")
        self.last_fault = max(self.last_fault, when)
        self.scheduler.call_at(when, call, *arguments)

    def process(self, name: str, **config: Any) -> Process:
        process = Process(name, replace(self.config, **config))
        process.started_at = self.now
        self.processes.append(process)
        return process

    def do(self, process: Process, target: Callable[[], object], name: str = "request") -> None:
        self.scheduler.spawn(process, target, name)

    # --- processes and messages

    def worker(self, name: str, options: Options | None = None) -> Process:
        process = self.process(name)
        chosen = options or Options(in_flight=IN_FLIGHT, batch=6, lease=LEASE, maintenance=self.maintenance)

        def run() -> None:
            process.worker = worker = _SimWorker(chosen)
            worker.process, worker.world = process, self
            try:
                process.exited = worker.run()
            finally:
                process.ended_at = self.now
                process.alive = process.alive and not isinstance(process.exited, bool)

        self.scheduler.spawn(process, run, "main")
        return process

    def workers(self) -> list[Process]:
        return [process for process in self.processes if process.worker and process.alive]

    def queue(self, number: int, phone: str = "", life: float = 3600.0) -> None:
        """Queue message `number` now, in the process of the site."""
        self.phones[number] = phone = phone or f"0772{number:06}"

        def run() -> None:
            outbox.queue_sms(
                phone,
                f"message {number}",
                dedupe_key=f"sim:{number}",
                expires_at=self.clock.utc() + timedelta(seconds=life),
            )

        self.do(self.site, run)

    def backlog(self, numbers: range, phone: str = "") -> None:
        """Insert queued messages before the simulation begins."""
        rows = []
        for number in numbers:
            self.phones[number] = phone or f"0772{number:06}"
            rows.append(
                SmsMessage(
                    phone=f"+256{self.phones[number][1:]}",
                    text=f"message {number}",
                    dedupe_key=f"sim:{number}",
                    created_at=BASE,
                    due_at=BASE,
                    expires_at=BASE + timedelta(hours=1),
                )
            )
        SmsMessage.objects.bulk_create(rows)

    def kill(self, process: Process) -> None:
        if process.alive:
            self.kills += 1
            self.scheduler.kill(process)

    def stop(self, process: Process) -> None:
        if process.alive and process.worker:
            process.worker.stop()

    # --- the database

    def execute(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        task = self.scheduler.current
        frees = sql.startswith("UPDATE") and '"lease_until" <' in sql
        if task is None or (connection.in_atomic_block and not sql.startswith("BEGIN")):
            self._freeing = frees
            return execute(sql, params, many, context)
        process = task.process
        process.statements += 1
        self.statements += 1
        # Wait only before a statement runs. A statement that has begun keeps SQLite's lock.
        task.aborted = False
        self.scheduler.park(process.db_latency)
        while (process.db_hangs_until > self.now or process.stuck) and not task.aborted:
            process.trouble_at = self.now
            self.scheduler.park(0.25)
        if task.aborted or process.db_gone_until > self.now:
            process.stuck = process.stuck and not task.aborted
            process.trouble_at = self.now
            raise OperationalError("the database is gone")
        if process.cuts:
            process.cuts -= 1
            process.cut_at = self.now
            raise OperationalError("the connection was cut")
        if process.defects and sql.lstrip().startswith("UPDATE") and "SET lease_until" in sql:
            process.defects -= 1
            raise DatabaseError("a defect")
        self._freeing = frees
        result = execute(sql, params, many, context)
        if process.answers_to_lose and not connection.in_atomic_block and ("UPDATE" in sql or "WITH" in sql):
            process.answers_to_lose -= 1
            process.trouble_at = self.now
            context["cursor"].fetchall()
            raise OperationalError("the answer was lost")
        return result

    def _abort_statement(self, connection: Any) -> None:
        """Shut down the connection of the worker's main thread. Only this connection has a statement timeout."""
        assert self.scheduler.current
        self.scheduler.current.process.tasks[0].aborted = True

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a query in zero simulated time."""
        return list(connection.connection.execute(sql, parameters))

    # --- owners, receivers, and replaced functions

    def _judge(self, messages: Any) -> set[int]:
        self.slowest_judge = max(self.slowest_judge, self.judge_seconds)
        if self.judge_seconds:
            self.scheduler.park(self.judge_seconds)
        return {message.pk for message in messages}

    def _receiver(self, **_: Any) -> None:
        if self.receiver_seconds:
            self.scheduler.park(self.receiver_seconds)

    def _check_alerts(self) -> None:
        """Check for alerts at most once a minute in each process, as in production, however often maintenance runs."""
        process = self.scheduler.current.process if self.scheduler.current else self.site
        if self.now >= process.alerts_at:
            process.alerts_at = self.now + 60.0
            _check_alerts()

    def log_exchange(self, message: Any, exchange: Any) -> None:
        if int(message.text.split()[1]) in self.defective:
            raise ValueError("a defect")
        log_exchange(message, exchange)

    def _post(self, request: Any, config: Any) -> Any:
        assert self.scheduler.current
        return self.provider.post(self.scheduler.current.process, request, config)

    def _current_config(self) -> conf.Config:
        return self.scheduler.current.process.config if self.scheduler.current else self.config

    # --- invariants that are checked during the run

    def _fail(self, invariant: int, text: str) -> None:
        """Record a violation and end the run. Used where an exception would be swallowed."""
        self.violation = self.violation or Violation(invariant, f"{text} (at {self.now:.3f} s)")
        self.scheduler.stopped = True

    def slack(self) -> float:
        """Return the seconds by which slow calls lengthen a round of a worker."""
        slowest = max((process.db_latency for process in self.processes), default=0.0)
        return self.slowest_judge + 8 * self.cache.slowest + 10 * slowest

    def check_turns(self, process: Process) -> None:
        messages, life = len(self.phones), self.now - process.started_at
        if process.turns > 200 + 30 * messages + 12 * life:
            self._fail(8, f"{process.name}: {process.turns} turns in {life:.0f} s for {messages} messages")
            self.scheduler.park(1e9)  # otherwise no simulated time would pass

    def _watch(self) -> None:
        """Check each second that no lease stays expired while a worker could free it."""
        self.scheduler.call_at(self.now + 1.0, self._watch)
        longest = 2 * LEASE + 2.0 + self.slack()
        if self.clock_stepped or not any(self._was_well(process, self.now - longest) for process in self.processes):
            return
        limit = str(connection.ops.adapt_datetimefield_value(self.clock.of_sqlite() - timedelta(seconds=longest)))
        if rows := self.rows("SELECT text FROM sms_smsmessage WHERE status = 'sending' AND lease_until < ?", limit):
            self._fail(6, f"{len(rows)} messages are not freed after their lease: {rows[:3]}")

    def _was_well(self, process: Process, since: float) -> bool:
        """Return True if this worker has run without a fault since the time `since`."""
        faults = max(process.trouble_at, process.cut_at, process.started_at)
        well = process.alive and not process.suspended and faults < since
        return well and bool(process.worker) and not process.worker._stop_requested

    def _note_accepted(self, number: int) -> None:
        [(pk, phone, kind)] = self.rows(
            "SELECT id, phone, kind FROM sms_smsmessage WHERE text = ?", f"message {number}"
        )
        taken = self.cache.written.get((rate_limit.key(phone, kind), str(pk)))
        if taken is not None:
            self.accepted_by_phone[phone][pk] = taken

    def _check_polled(self, process: Process, provider_id: str) -> None:
        _, number, rank = provider_id.split("-")
        resends = self.resends[int(number)]
        sent = self.provider.by_number[int(number)][int(rank) - 1]
        # A poll that had begun before the operator's resend is allowed.
        if (
            resends
            and sent.at < resends[-1] < self.now - 1.0
            and any(
                one.accepted and one.answered and resends[-1] < one.at < self.now - 5.0
                for one in self.provider.by_number[int(number)]
            )
        ):
            self._fail(11, f"{process.name} polls {provider_id}, sent before message {number} was sent again")

    def _check_written(self, process: Process, number: int) -> None:
        rows = self.rows(
            "SELECT status, claim, lease_until || '', id, phone, kind FROM sms_smsmessage WHERE text = ?",
            f"message {number}",
        )
        status, claim, lease_until, pk, phone, kind = rows[0]
        if self.config.rate_limit and not self.cache.was_gone:
            key = rate_limit.key(phone, kind)
            holder, _ = rate_limit._read(self.cache._read(key))
            if holder != str(pk):
                self._fail(7, f"{process.name} sends message {number} without its rate-limit key (held by {holder!r})")
            for other, taken in self.accepted_by_phone[phone].items():
                if other != pk and self.now < taken + self.config.rate_limit:
                    self._fail(7, f"message {number} follows row {other}, accepted under a key of {taken:.2f} s")
        now = str(connection.ops.adapt_datetimefield_value(self.clock.of_sqlite()))
        if self.clock_stepped:
            return  # A step forward ends every lease by the database's clock.
        mine = process.worker is None or claim == process.worker.claimer
        # A delivery report may arrive while a retry connects. The message is then sent at most once more.
        if status not in ("sending", "sent", "delivered", "undelivered") or (not mine and status == "sending"):
            self._fail(1, f"{process.name} sends message {number}, whose row is {status} of {claim[:6]}")
        if status == "sending" and lease_until < now:
            self._fail(1, f"{process.name} sends message {number} after its lease ({lease_until} < {now})")

    def _freed(self, pk: int, claim: str) -> None:
        if not self._freeing:
            return
        self.freed[pk] += 1
        current = self.scheduler.current
        if self.clock_stepped and current and self.now < current.process.started_at + 1.0:
            return  # The first check of a worker frees all leases that look expired for one lease period.
        for process in self.processes:
            worker = process.worker
            healthy = process.alive and not process.suspended and self.now - process.trouble_at > LEASE
            if worker and worker.claimer == claim and healthy and pk in worker.recorder.in_hand:
                self._fail(2, f"the lease of row {pk} was taken from {process.name}, which runs")

    def _moved(self, before: str, after: str) -> None:
        if before == Status.DELIVERED or (before == Status.SENT and after in ("queued", "sending", "failed")):
            self._fail(10, f"a row moved from {before} to {after}")

    # --- running

    def run(self, until: float) -> None:
        try:
            self.scheduler.run(until)
        except Spinning as error:
            raise Violation(8, str(error)) from None
        if self.violation:
            raise self.violation
        for process in self.processes:
            for task in process.tasks:
                if task.failure and not isinstance(task.failure, Killed):
                    raise Violation(9, f"{process.name}/{task.name} ended: {task.failure!r}") from task.failure

    def check(self) -> None:
        """Check the invariants of the end state, at least 60 s after the last fault."""
        copies = sum(self._check_message(number) for number in self.provider.by_number)
        for (text,) in self.rows("SELECT text FROM sms_smsmessage WHERE status = 'unknown'"):
            if int(text.split()[1]) not in self.provider.by_number:
                raise Violation(13, f"{text} ended unknown, and nobody has sent it")
        lost = sum(not one.answered or one.status >= 500 for one in self.provider.sent)
        troubled = sum(process.trouble_at > 0 for process in self.processes)
        if copies > lost + (self.kills + troubled) * (IN_FLIGHT + UNRECORDED):
            raise Violation(4, f"{copies} copies, {self.kills} kills, {lost} requests without an answer")
        if self.workers() and not self.rows("SELECT 1 FROM sms_smshold"):
            self._check_progress()
        if self.without_workers:
            self._check_inline()
        self._check_rate()
        self._check_effort()
        self._check_kept_connections()

    def _check_message(self, number: int) -> int:
        """Check one message. Return the number of its copies that no operator ordered."""
        copies = 0
        status = self.rows("SELECT status FROM sms_smsmessage WHERE text = ?", f"message {number}")[0][0]
        # A resend by an operator starts a new count.
        limits = [0.0, *self.resends[number], 1e9]
        for begin, end in pairwise(limits):
            sent = [one for one in self.provider.by_number[number] if begin <= one.at < end]
            lost = [one for one in sent if not one.answered]
            accepted = [one for one in sent if one.accepted]
            copies += max(0, len(accepted) - 1)
            if len(lost) > 4:
                raise Violation(3, f"message {number} had {len(lost)} requests without a complete answer")
            # An attempt is not counted in the row if its result was lost with the database connection.
            healthy = all(one.process.trouble_at < 0 for one in sent)
            failed = [one.at for one in sent if one.status >= 500]
            if (
                any(later - first < 590 for first, later in zip(failed, failed[12:], strict=False))
                and not self.kills
                and healthy
            ):
                raise Violation(3, f"message {number} had {len(failed)} requests answered with 5xx in ten minutes")
            # A running process must store an acceptance within 5 s, if its database is available.
            read = [one for one in accepted if one.answered and one.status == 200 and one.process.alive]
            for one in read:
                time = 5.0 + self.slack()
                repeated = [two for two in sent if two.at > one.answered_at + time]
                if repeated and one.process.trouble_at < repeated[0].at - time and not self.clock_stepped:
                    raise Violation(4, f"message {number} was sent again {repeated[0].at - one.at:.1f} s later")
            lies = [one for one in accepted if one.status >= 500]
            if len(accepted) > 1 and not lost and not lies and not self.kills and not self.clock_stepped and healthy:
                raise Violation(4, f"message {number} was accepted {len(accepted)} times")
            if read and end == limits[-1] and status not in ("sent", "delivered", "undelivered"):
                raise Violation(5, f"message {number} was accepted, and its row is {status}")
        return copies

    def _check_progress(self) -> None:
        now = self.clock.of_sqlite()
        paused = any(process.worker.breaker.is_open for process in self.workers())

        def at(seconds: float) -> str:
            return str(connection.ops.adapt_datetimefield_value(now + timedelta(seconds=seconds)))

        sending = "SELECT text FROM sms_smsmessage WHERE status = 'sending' AND lease_until"
        for what, rows in (
            (
                "still queued",
                self.rows(
                    "SELECT text FROM sms_smsmessage WHERE status = 'queued' AND due_at < ?", at(-5 - 3 * self.slack())
                ),
            ),
            ("not freed after their lease", self.rows(f"{sending} < ?", at(-2 * LEASE - 10))),
            (
                "held without being sent",
                [row for row in self.rows(f"{sending} >= ?", at(0)) if not self._in_flight(*row)],
            ),
        ):
            # While the breaker is open, messages are sent only as single probes.
            if rows and not (paused and what == "still queued"):
                raise Violation(6, f"{len(rows)} messages are {what}: {rows[:3]}")

    def _in_flight(self, text: str) -> bool:
        return any(one.at > self.now - 5.0 for one in self.provider.by_number[int(text.split()[1])])

    def _check_effort(self) -> None:
        messages = len(self.phones)
        for process in self.processes:
            life = (process.ended_at or self.now) - process.started_at
            if process.worker and process.statements > 300 + 60 * messages + 15 * life:
                raise Violation(8, f"{process.name}: {process.statements} statements in {life:.0f} s")

        delays = "sum(step = 'throttle'), sum(step = 'token')"
        for pk, count, tokens in self.rows(f"SELECT message_id, {delays} FROM sms_smsevent GROUP BY message_id"):
            [(text,)] = self.rows("SELECT text FROM sms_smsmessage WHERE id = ?", pk)
            number = int(text.split()[1])
            if count > 1 + tokens + len(self.provider.by_number[number]) + len(self.resends[number]):
                raise Violation(8, f"message {number} has {count} events of the rate limit")

    def _check_inline(self) -> None:
        """Check that inline messages have ended, unless their process was killed or lost its database."""
        troubled = sum(not one.alive or one.trouble_at > 0 for one in self.processes)
        cut = sum(one.cut_at > 0 for one in self.processes)
        left = self.rows("SELECT text, status FROM sms_smsmessage WHERE status IN ('queued', 'sending')")
        if not troubled and len(left) > cut:
            raise Violation(6, f"{len(left)} messages have not ended: {left[:3]}")

    def _check_kept_connections(self) -> None:
        """Check that kept connections are not used after three losses within a minute.

        Only the requests in flight at that time may still be lost.
        """
        for name, losses in self.provider.kept_losses.items():
            for first, later in zip(losses, losses[3 + IN_FLIGHT :], strict=False):
                if later - first < 60.0:
                    raise Violation(12, f"{name} lost {3 + IN_FLIGHT} requests on kept connections within a minute")

    def _check_rate(self) -> None:
        window = self.config.rate_limit
        last: dict[str, float] = {}
        # A request may follow the taking of its key by up to three cache calls and 1 s, plus its immediate retries.
        slow = 3 * self.cache.slowest + 1.2 + 0.8 + 3 * self.config.connect_timeout * self.provider.dropped
        for sent in sorted(self.provider.sent, key=lambda one: one.at) if window else ():
            if not sent.accepted or sent.status >= 500:
                continue
            phone, before = self.phones[sent.number], last.get(self.phones[sent.number])
            same = before is not None and sent.at - before < window - slow
            if same and len([one for one in self.provider.by_number[sent.number] if one.at < sent.at]) == 0:
                raise Violation(7, f"two messages to {phone} within {sent.at - (before or 0):.2f} s")
            last[phone] = sent.at

    def finish(self) -> None:
        """Send SIGTERM: every worker must end within 30 s and release its messages."""
        before = self.now
        running = self.workers()
        for process in running:
            process.worker.stop()
        self.run(before + 30)
        for process in running:
            if process.exited is None:
                raise Violation(9, f"{process.name} did not end within 30 s of SIGTERM")
            left = self.rows(
                "SELECT text FROM sms_smsmessage WHERE status = 'sending' AND claim = ?", process.worker.claimer
            )
            if left:
                raise Violation(9, f"{process.name} ended and left {left[:3]}")

    def close(self) -> None:
        for process in self.processes:
            process.alive = False
            for task in process.tasks:
                if not task.done:
                    task.greenlet.throw(Killed())


@contextmanager
def simulated(seed: object, **options: Any) -> Iterator[World]:
    """Yield a world with all replacements in place.

    The world uses a copy in memory of Django's SQLite database, which must be empty.
    """
    connection.ensure_connection()
    django_connection = connections[connection.alias]
    raw = connection.get_new_connection({**connection.get_connection_params(), "database": ":memory:"})
    raw.isolation_level = None  # autocommit, as Django sets it
    connection.connection.backup(raw)
    world = World(seed, **options)
    raw.create_function("sim_freed", 2, world._freed)
    raw.create_function("sim_moved", 2, world._moved)
    raw.execute("""CREATE TEMP TRIGGER sim_freed AFTER UPDATE OF claim ON sms_smsmessage
        WHEN old.status = 'sending' AND new.status = 'queued' BEGIN SELECT sim_freed(old.id, old.claim); END""")
    raw.execute("""CREATE TEMP TRIGGER sim_moved AFTER UPDATE OF status ON sms_smsmessage
        WHEN old.status <> new.status BEGIN SELECT sim_moved(old.status, new.status); END""")
    state = random.getstate()
    random.seed(f"{seed}/product")
    generator = random.Random(f"{seed}/uuid")
    owners.register("sim", lambda message: [], world._judge)
    sms_sent.connect(world._receiver)
    with ExitStack() as stack:
        if not os.environ.get("SIMULATION_LOG"):
            logging.disable(logging.CRITICAL)
            stack.callback(logging.disable, logging.NOTSET)
        for target, name, value in (
            (clock, "current", world.clock),
            (runtime, "current", world.runtime),
            (pycurl, "Curl", SimCurl),
            (pycurl, "CurlMulti", lambda: SimMulti(world.scheduler, world.runtime.descriptors, world.provider)),
            (blocking, "post", world._post),
            (conf, "current", world._current_config),
            (sms_cache, "cache", world.cache),
            (sms_cache, "DefaultClient", _Client),
            (sms_cache, "_rest_until", 0.0),
            (access_token, "_fetches", _Fetches(world)),
            (access_token, "_fetches_lock", world.runtime.lock()),
            (background, "_shut_down", lambda connection: world._shut_down(connection)),
            (connection, "connection", raw),
            (connection, "execute_wrappers", _Wrappers(world)),
            (connection, "close", lambda: None),  # all greenlets share the connection
            (type(connections), "__getitem__", lambda handler, alias: django_connection),
            (SQLiteCursorWrapper, "convert_query", _convert_once),
            (uuid, "uuid4", lambda: uuid.UUID(int=generator.getrandbits(128))),
            (recorder, "log_exchange", world.log_exchange),
            (alerts, "_sources", []),  # the game's sources read tables that are empty here
            (alerts, "check", world._check_alerts),
            (polling.poll, "__defaults__", (8.0, *(polling.poll.__defaults__ or ())[1:])),
            (timezone, "now", world.clock.utc),
            (gc, "freeze", lambda: None),
            (gc, "collect", lambda: 0),
        ):
            stack.enter_context(patch.object(target, name, value))
        connection_created.send(type(connection), connection=connection)
        try:
            yield world
        finally:
            world.close()
            sms_sent.disconnect(world._receiver)
            owners._owners.pop("sim", None)
            random.setstate(state)
            raw.close()
