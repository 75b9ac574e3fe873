"""Replacements of `sms.clock.current` and `sms.runtime.current`: clocks, threads and sockets in simulated time."""

import selectors
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from sms.clock import Clock
from tests.simulation.scheduler import STEP, Scheduler, Task

BASE = datetime(2030, 1, 1, tzinfo=timezone.utc)


class SimClock(Clock):
    """The simulated clocks. `database_offset`: seconds by which the database's clock is ahead."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.database_offset = 0.0

    @property
    def known(self) -> Any:
        task = self._scheduler.current
        return task.process.known_clock if task else None

    @known.setter
    def known(self, value: Any) -> None:
        if task := self._scheduler.current:
            task.process.known_clock = value

    def monotonic(self) -> float:
        task = self._scheduler.current
        return self._scheduler.now + 1000.0 - (task.process.stood_still if task else 0.0)

    def time(self) -> float:
        return self.utc().timestamp()

    def utc(self) -> datetime:
        task = self._scheduler.current
        return BASE + timedelta(seconds=self._scheduler.now + (task.process.clock_offset if task else 0.0))

    def of_sqlite(self) -> datetime:
        return BASE + timedelta(seconds=self._scheduler.now + self.database_offset)

    def asks_database(self) -> bool:
        return True


class _Waiters:
    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self._tasks: list[Task] = []

    def wait(self, seconds: float | None) -> None:
        task = self.scheduler.current
        assert task
        self._tasks.append(task)
        try:
            self.scheduler.park(seconds)
        finally:
            self._tasks.remove(task)

    def wake(self) -> None:
        for task in self._tasks:
            self.scheduler.wake(task)


class SimEvent:
    def __init__(self, scheduler: Scheduler) -> None:
        self._waiters, self._set = _Waiters(scheduler), False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        self._waiters.wake()

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            self._waiters.wait(timeout)
        return self._set


class SimQueue:
    def __init__(self, scheduler: Scheduler) -> None:
        self._waiters = _Waiters(scheduler)
        self._items: deque[Any] = deque()

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._waiters.wake()

    def get(self) -> Any:
        while not self._items:
            self._waiters.wait(None)
        return self._items.popleft()


class SimLock:
    """A lock that does nothing. Greenlets switch only while they wait, and the product never waits inside a lock."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class SimFuture:
    def __init__(self, scheduler: Scheduler) -> None:
        self._done = SimEvent(scheduler)
        self._result: Any = None
        self._error: BaseException | None = None

    def set_result(self, result: Any) -> None:
        self._result = result
        self._done.set()

    def set_exception(self, error: BaseException) -> None:
        self._error = error
        self._done.set()

    def exception(self) -> BaseException | None:
        self._done.wait()
        return self._error

    def result(self) -> Any:
        self._done.wait()
        return self._result


class Descriptors:
    """The simulated file descriptors, and the events for which each of them is ready."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler, self._last = scheduler, 1000
        self.ready: dict[int, int] = {}
        self.waiting: list[tuple[SimSelector, Task]] = []

    def new(self) -> int:
        self._last += 1
        return self._last

    def set_ready(self, fd: int, events: int) -> None:
        self.ready[fd] = self.ready.get(fd, 0) | events
        for selector, task in self.waiting:
            if selector.keys.get(fd):
                self._scheduler.wake(task)

    def clear(self, fd: int, events: int = 3) -> None:
        if left := self.ready.get(fd, 0) & ~events:
            self.ready[fd] = left
        else:
            self.ready.pop(fd, None)


class SimSocket:
    peer: "SimSocket"

    def __init__(self, descriptors: Descriptors) -> None:
        self._descriptors, self._fd, self._data = descriptors, descriptors.new(), b""

    def fileno(self) -> int:
        return self._fd

    def setblocking(self, value: bool) -> None: ...

    def send(self, data: bytes) -> None:
        self.peer._data += data
        self._descriptors.set_ready(self.peer._fd, selectors.EVENT_READ)

    def recv(self, size: int) -> bytes:
        if not self._data:
            raise BlockingIOError
        data, self._data = self._data, b""
        self._descriptors.clear(self._fd)
        return data

    def close(self) -> None: ...


class SimSelector:
    def __init__(self, scheduler: Scheduler, descriptors: Descriptors) -> None:
        self._scheduler, self._descriptors = scheduler, descriptors
        self.keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int) -> None:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self.keys[fd] = selectors.SelectorKey(fileobj, fd, events, None)

    modify = register

    def unregister(self, fileobj: Any) -> None:
        del self.keys[fileobj if isinstance(fileobj, int) else fileobj.fileno()]

    def _ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._descriptors.ready
        return [(key, ready[fd] & key.events) for fd, key in self.keys.items() if ready.get(fd, 0) & key.events]

    def select(self, timeout: float) -> list[tuple[selectors.SelectorKey, int]]:
        task = self._scheduler.current
        assert task
        if self._ready() or timeout <= 0:
            self._scheduler.park(STEP)
            return self._ready()
        self._descriptors.waiting.append((self, task))
        try:
            self._scheduler.park(timeout)
        finally:
            self._descriptors.waiting.remove((self, task))
        return self._ready()

    def close(self) -> None: ...

    def __enter__(self) -> "SimSelector":
        return self

    def __exit__(self, *_: object) -> None: ...


class SimThread:
    def __init__(self, task: Task) -> None:
        self._task = task

    def is_alive(self) -> bool:
        return not self._task.done

    def join(self, timeout: float | None = None) -> None:
        scheduler = self._task.scheduler
        if not self._task.done and scheduler.current:
            self._task.joiners.append(scheduler.current)
            scheduler.park(timeout)


class SimRuntime:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler, self.descriptors = scheduler, Descriptors(scheduler)

    def sleep(self, seconds: float) -> None:
        self._scheduler.park(seconds)

    def start(self, target: Callable[[], object], name: str) -> SimThread:
        assert self._scheduler.current
        return SimThread(self._scheduler.spawn(self._scheduler.current.process, target, name))

    def event(self) -> SimEvent:
        return SimEvent(self._scheduler)

    def queue(self) -> SimQueue:
        return SimQueue(self._scheduler)

    def lock(self) -> SimLock:
        return SimLock()

    def future(self) -> SimFuture:
        return SimFuture(self._scheduler)

    def selector(self) -> SimSelector:
        return SimSelector(self._scheduler, self.descriptors)

    def socket_pair(self) -> tuple[SimSocket, SimSocket]:
        one, other = SimSocket(self.descriptors), SimSocket(self.descriptors)
        one.peer, other.peer = other, one
        return one, other
