"""`game_worker`: does what time brings to payments and game, for as long as it runs, beside any number of others.

chores (a thread) · payments' own threads, woken by LISTEN · the main thread, which only waits for the end
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable

from django.db import InterfaceError, OperationalError, connection

from game import clock
from game.chores import CHORES, Chore
from game.models import GameWorker
from payments import collecting
from payments.background import Background

logger = logging.getLogger("game.worker")

# A chore that failed, or whose work failed in part, is left alone for so long.
_PAUSE_SECONDS = 30.0
_STOP_SECONDS = 26.0


class Worker:
    """One process. `poll`: seconds between two looks of the payments' threads that nobody wakes."""

    def __init__(self, poll: float, say: Callable[[str], None], chores: tuple[Chore, ...] = CHORES) -> None:
        self.say, self.chores = say, chores
        self.payments = Background(poll)
        self.stop_requested = False
        self.stopping = threading.Event()
        self.life = _Life()

    def stop(self) -> None:
        """End soon. For a signal handler, so it takes no lock."""
        self.stop_requested = True

    def run(self) -> None:
        """Work until `stop`. What hangs then ends with the process: each of its works is safe against that."""
        housekeeper = threading.Thread(target=self._do_chores, name="game-chores", daemon=True)
        housekeeper.start()
        self.payments.start()
        if connection.vendor == "postgresql":
            threading.Thread(target=self._listen, name="game-listener", daemon=True).start()
        while not self.stop_requested:
            time.sleep(0.1)
        end = time.monotonic() + _STOP_SECONDS
        self.stopping.set()
        ended = self.payments.stop(_STOP_SECONDS)
        housekeeper.join(max(0.0, end - time.monotonic()))
        if not ended or housekeeper.is_alive():
            logger.error("game.cut_off: what hangs is left to the others", extra={"event": "game.cut_off"})
            self.say("game_worker: stopped")
            os._exit(0)

    def _do_chores(self) -> None:
        due = dict.fromkeys((chore.name for chore in self.chores), 0.0)
        lost = False
        while not self.stopping.is_set():
            try:
                self.life.beat()
                for chore in self.chores:
                    if time.monotonic() >= due[chore.name] and not self.stopping.is_set():
                        due[chore.name] = time.monotonic() + self._do(chore)
                lost = False
            except (OperationalError, InterfaceError) as error:
                if not lost:
                    logger.error("game.database_lost (%s); trying again", type(error).__name__)
                lost = True
                connection.close()
                self.stopping.wait(1.0)
            self.stopping.wait(0.2)
        self.life.end()
        connection.close()

    def _do(self, chore: Chore) -> float:
        """Seconds until the next look."""
        try:
            done = chore.look()
        except (OperationalError, InterfaceError):
            raise
        # A worker that ends leaves everything lying; one that logs and goes on leaves this.
        except Exception:
            logger.exception("game.chore_failed: %s", chore.name, extra={"event": "game.chore_failed"})
            connection.close()
            return _PAUSE_SECONDS
        if done.done:
            self.say(f"{chore.name}: {done.done}")
        return _PAUSE_SECONDS if done.failed else chore.every

    def _listen(self) -> None:
        """Wake the payments' threads at each NOTIFY. Needs a connection of its own, straight to the server."""
        lost = False
        while not self.stopping.is_set():
            try:
                with connection.cursor() as cursor:
                    cursor.execute(f"LISTEN {collecting.CHANNEL}")
                lost = False
                self.payments.wake()  # what came while nobody listened
                while not self.stopping.is_set():
                    for _ in connection.connection.notifies(timeout=5.0):
                        self.payments.wake()
            # Their poll still finds everything; this thread only makes it sooner.
            except Exception as error:  # noqa: BLE001
                if not lost:
                    logger.warning("game.listen_lost (%s); polling meanwhile", type(error).__name__)
                lost = True
                connection.close()
                self.stopping.wait(2.0)


class _Life:
    """The row that says that this worker lives; deleted when it ends in order."""

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
        except (OperationalError, InterfaceError) as error:
            logger.warning("game.database_lost (%s); this worker's row stays for a day", type(error).__name__)
