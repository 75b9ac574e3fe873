"""Simulated time. Each thread of the product is a greenlet.

Only one greenlet runs at a time. Time passes only while all greenlets wait.
"""

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

# Each step takes this time in seconds. Otherwise code that never waits would stop the simulated time.
STEP = 0.0001
_MOST_STEPS_AT_ONCE = 20_000


class Killed(BaseException):
    """Thrown into the greenlets of a killed process."""


class Spinning(AssertionError):
    """A greenlet runs on and on, and no simulated time passes."""


class Process:
    """A simulated operating-system process."""

    def __init__(self, name: str, config: Any, clock_offset: float = 0.0) -> None:
        self.name, self.config, self.clock_offset = name, config, clock_offset
        self.alive, self.suspended = True, False
        self.tasks: list[Task] = []
        self.postponed: list[tuple[Task, int]] = []
        self.started_at = self.ended_at = 0.0
        self.trouble_at = -1e9  # time of the last database fault or suspension
        self.cut_at = -1e9
        # Seconds for which the monotonic clock of this process has stood still.
        self.stood_still = 0.0
        self.known_clock: Any = None
        self.wrappers: list[Any] = []
        self.fetches: dict[str, Any] = {}
        self.statements = self.turns = 0
        self.alerts_at = 0.0  # time of the next check for alerts
        self.worker: Any = None
        # Faults of this process's database: the times until which it hangs or is unavailable, its latency, and the
        # number of responses to lose.
        self.db_hangs_until = self.db_gone_until = 0.0
        self.db_latency = 0.001
        self.answers_to_lose = 0
        # `cuts`: statements that fail before they run. `defects`: lease renewals that fail with an unexpected error.
        # `stuck`: the connection hangs until it is shut down.
        self.cuts = self.defects = 0
        self.stuck = False
        self.exited: BaseException | bool | None = None


class Task:
    def __init__(self, scheduler: "Scheduler", process: Process, target: Callable[[], object], name: str) -> None:
        self.process, self.name, self._target = process, name, target
        self.scheduler = scheduler
        self.turn, self.parked, self.done, self.woken = 0, True, False, False
        self.aborted = False  # True if the statement that this task runs must fail
        self.failure: BaseException | None = None
        self.joiners: list[Task] = []
        self.greenlet = greenlet(self._run, scheduler.hub)
        process.tasks.append(self)

    def _run(self) -> None:
        try:
            if self.process.alive:
                self._target()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - reported as a dead thread
            self.failure = error
        self.done = True
        for task in self.joiners:
            self.scheduler.wake(task)


class Scheduler:
    def __init__(self, seed: object) -> None:
        self.seed, self.now, self.steps = seed, 0.0, 0
        self.hub = getcurrent()
        self.current: Task | None = None
        self._heap: list[tuple[float, int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._number = self._at_once = 0
        self.stopped = False
        self._draws: Counter[str] = Counter()
        self._digest = hashlib.sha256()
        self._salt = random.Random(f"{seed}/ties").getrandbits(32)

    def draw(self, purpose: str) -> random.Random:
        """Return a random generator for one purpose.

        Each call returns a new one, so that an extra draw does not change the draws for other purposes.
        """
        self._draws[purpose] += 1
        return random.Random(f"{self.seed}/{purpose}/{self._draws[purpose]}")

    def note(self, *facts: object) -> None:
        self._digest.update(repr((round(self.now, 6), *facts)).encode())

    def digest(self) -> str:
        return self._digest.hexdigest()[:16]

    def call_at(self, when: float, call: Callable[..., object], *arguments: Any) -> None:
        self._number += 1
        tie = (self._number * 2654435761 ^ self._salt) % 2**32
        heapq.heappush(self._heap, (max(when, self.now), tie, self._number, call, arguments))

    def spawn(self, process: Process, target: Callable[[], object], name: str) -> Task:
        task = Task(self, process, target, name)
        self.call_at(self.now, self._resume, task, 0)
        return task

    def park(self, seconds: float | None = None) -> bool:
        """Suspend the running greenlet for `seconds`, or until `wake` is called. Return True if it was woken."""
        task = self.current
        assert task is not None, "only a task can wait"
        if not task.process.alive:
            raise Killed
        task.turn += 1
        task.parked, task.woken = True, False
        if seconds is not None:
            self.call_at(self.now + max(seconds, STEP), self._resume, task, task.turn)
        self.hub.switch()
        if not task.process.alive:
            raise Killed
        return task.woken

    def wake(self, task: Task) -> None:
        if task.parked and not task.woken:
            task.woken = True
            self.call_at(self.now, self._resume, task, task.turn)

    def _resume(self, task: Task, turn: int) -> None:
        if task.done or not task.parked or task.turn != turn:
            return
        if task.process.suspended and task.process.alive:
            task.process.postponed.append((task, turn))
            return
        task.parked, self.current = False, task
        self.note(task.process.name, task.name)
        try:
            task.greenlet.switch()
        finally:
            self.current = None

    def suspend(self, process: Process, seconds: float) -> None:
        if process.alive and not process.suspended:
            process.suspended = True
            process.trouble_at = self.now
            self.call_at(self.now + seconds, self._go_on, process)

    def _go_on(self, process: Process) -> None:
        process.suspended, process.trouble_at = False, self.now
        postponed, process.postponed = process.postponed, []
        for task, turn in postponed:
            self.call_at(self.now, self._resume, task, turn)

    def kill(self, process: Process) -> None:
        if process.alive:
            process.alive, process.ended_at = False, self.now
            for task in process.tasks:
                if not task.done and task is not self.current:
                    self.call_at(self.now, self._resume, task, task.turn)

    def run(self, until: float) -> None:
        """Run all events until the time `until`. Raises Spinning if no time passes."""
        while self._heap and self._heap[0][0] <= until and not self.stopped:
            when, _, _, call, arguments = heapq.heappop(self._heap)
            self._at_once = self._at_once + 1 if when <= self.now else 0
            if self._at_once > _MOST_STEPS_AT_ONCE:
                raise Spinning(f"{_MOST_STEPS_AT_ONCE} steps at {self.now:.4f} s")
            self.now = max(self.now, when)
            self.steps += 1
            call(*arguments)
        self.now = max(self.now, until)
