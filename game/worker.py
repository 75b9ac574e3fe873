"""The `game_worker` process: time-driven work on stakes and payments. Several such processes can run at the same time.

Each kind of work has its own threads. The main thread checks that all threads are running.
"""

import logging
import os
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable

from django.db import connection

from game.maintenance import TASKS, Done, Task
from game.models import GameWorker
from payments import services
from payments.database import close_if_unavailable, limit_idle_transactions
from payments.worker import CHANNEL, Loop, Outage, stop_all
from sms import alerts, clock

logger = logging.getLogger("game.worker")

# Longest wait in seconds before a failed task is repeated, unless the task's interval is longer.
_LONGEST_PAUSE = 30.0
_STOP_SECONDS = 26.0
_LISTEN_SECONDS = 5.0
_ALERT_SECONDS = 60.0


class Worker:
    """A `game_worker` process. `poll`: seconds between searches for due payment work if no NOTIFY wakes the threads."""

    def __init__(self, poll: float, say: Callable[[str], None], tasks: tuple[Task, ...] = TASKS) -> None:
        self.say, self.tasks = say, tasks
        self.stop_requested = False
        self.heartbeat = _Heartbeat()
        self._due = dict.fromkeys((task.name for task in tasks), 0.0)
        # Number of failures in a row, by task name.
        self._failures: Counter[str] = Counter()
        outage = Outage(logger, "game.database_lost", "game.database_back")
        self.payments = services.worker_loops(poll)
        self.maintenance = Loop("game-maintenance", self._maintain, outage, "game.turn_failed", self.heartbeat.end)
        # Alerts have their own thread, because a mail server may take seconds to respond.
        self.alerts = Loop("game-alerts", _alert, outage, "game.turn_failed")
        self.loops = [self.maintenance, self.alerts, *self.payments]
        unheard = Outage(logger, "game.listen_lost", "game.listening_again")
        self.listener = Loop("game-listener", self._listen, unheard, "game.listen_lost")

    def stop(self) -> None:
        """Request a shutdown. This takes no lock, so a signal handler may call it."""
        self.stop_requested = True

    def run(self) -> bool:
        """Run all threads until `stop` is called or a thread has ended by itself.

        Return False if a thread has ended by itself. Exit the process if a thread does not stop within _STOP_SECONDS.
        """
        limit_idle_transactions()
        watched = [*self.loops, *([self.listener] if connection.vendor == "postgresql" else [])]
        for loop in watched:
            loop.start()
        dead: list[Loop] = []
        while not self.stop_requested and not dead:
            time.sleep(0.1)
            dead = [loop for loop in watched if loop.is_dead]
        for loop in dead:
            logger.critical(
                "The thread %s has ended; this process ends, so that it is started again",
                loop.thread.name,
                extra={"event": "game.thread_dead"},
            )
        self.listener.stop()
        if not stop_all(self.loops, _STOP_SECONDS):
            logger.error("Work that hangs is abandoned to other workers", extra={"event": "game.cut_off"})
            self.say("game_worker: stopped")
            os._exit(1 if dead else 0)
        return not dead

    def _maintain(self) -> float:
        self.heartbeat.beat()
        for task in self.tasks:
            if time.monotonic() >= self._due[task.name] and not self.stop_requested:
                self._due[task.name] = time.monotonic() + self._do(task)
        return 0.2

    def _do(self, task: Task) -> float:
        """Run a periodic task. Return the seconds until its next run."""
        try:
            done = task.run()
        except Exception as error:
            if close_if_unavailable(error):
                raise
            logger.exception("The periodic task %s failed", task.name, extra={"event": "game.chore_failed"})
            connection.close()
            done = Done(0, failed=1)
        if done.done:
            self.say(f"{task.name}: {done.done}")
        self._failures[task.name] = self._failures[task.name] + 1 if done.failed else 0
        pause = min(_LONGEST_PAUSE, 2.0 ** self._failures[task.name])
        return max(task.every, pause) if done.failed else task.every

    def _listen(self) -> float:
        """Wake the payment threads at each NOTIFY from PostgreSQL. Without NOTIFY, polling finds the new rows."""
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        self._wake_payments()  # The NOTIFY of rows committed before LISTEN was not received.
        while not self.listener.stopping.is_set():
            for _ in connection.connection.notifies(timeout=_LISTEN_SECONDS):
                self._wake_payments()
        return 0.0

    def _wake_payments(self) -> None:
        for loop in self.payments:
            loop.wake()


class _Heartbeat:
    """The database row that shows that this worker is running. A regular shutdown deletes the row."""

    def __init__(self) -> None:
        self.key = uuid.uuid4().hex
        self.name = f"{socket.gethostname()}:{os.getpid()}"[:100]
        self.next_beat = 0.0

    def beat(self) -> None:
        if time.monotonic() < self.next_beat:
            return
        self.next_beat = time.monotonic() + GameWorker.BEAT_SECONDS
        now = clock.now()
        if not GameWorker.objects.filter(key=self.key).update(seen_at=now):
            GameWorker.objects.create(key=self.key, name=self.name, started_at=now, seen_at=now)

    def end(self) -> None:
        try:
            GameWorker.objects.filter(key=self.key).delete()
        except Exception as error:
            if not close_if_unavailable(error):
                raise
            logger.warning(
                "The database is unavailable (%s); this worker's row stays for a day",
                type(error).__name__,
                extra={"event": "game.database_lost"},
            )


def _alert() -> float:
    """Send due alerts.

    `sms_worker` sends alerts too, but it cannot report that no `sms_worker` is running.
    """
    alerts.check()
    return _ALERT_SECONDS
