"""What runs beside the main thread and the loop: the token's fetcher, the housekeeper, and who tells the signals."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from django.db import InterfaceError, OperationalError, connection

from sms import conf
from sms.dlr import polling
from sms.dmark import blocking
from sms.dmark.exchange import Exchange
from sms.errors import ProviderError, ProviderUnavailable
from sms.sending.results import News, tell
from sms.worker import maintenance
from sms.worker.breaker import Breaker
from sms.worker.listener import PROBE_SECONDS, Listener
from sms.worker.loop import Answer

logger = logging.getLogger("sms.worker")

_POLL_LIMIT = 100


class Tokens:
    """Looks for DMark's token in the cache, or fetches it, while the loop goes on."""

    def __init__(self, config: conf.Config) -> None:
        self._config = config
        self._asked: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def start(self, answer: Callable[[Answer], None]) -> None:
        threading.Thread(target=self._run, args=(answer,), name="sms-tokens", daemon=True).start()

    def ask(self, rejected: str) -> None:
        self._asked.put(rejected)

    def finish(self) -> None:
        self._asked.put(None)

    def _run(self, answer: Callable[[Answer], None]) -> None:
        while (rejected := self._asked.get()) is not None:
            exchanges: list[Exchange] = []
            token: str | ProviderError
            try:
                token = blocking.token(self._config, exchanges.append, rejected)
            except ProviderError as error:
                token = error
            # Without an answer every text would wait for ever.
            except Exception as error:
                logger.exception("sms.worker_error", extra={"event": "sms.worker_error"})
                token = ProviderUnavailable(f"Internal error ({type(error).__name__}); the log has more.")
            answer(Answer(rejected, token, exchanges))


class Teller:
    """Tells the signals, so that a slow receiver keeps neither the sending nor the leases waiting."""

    def __init__(self) -> None:
        self._news: queue.SimpleQueue[Sequence[News] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def tell(self, news: Sequence[News]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sms-teller", daemon=True)
            self._thread.start()
        self._news.put(news)

    def behind(self) -> int:
        """Batches that are still to be told."""
        return self._news.qsize()

    def finish(self, seconds: float) -> bool:
        """Tell what is left; False when it takes longer."""
        if self._thread is None:
            return True
        self._news.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (news := self._news.get()) is not None:
            try:
                tell(news)
            # The texts are recorded; who listens hears less.
            except Exception:
                logger.exception("sms.worker_error", extra={"event": "sms.worker_error"})
                connection.close()
        connection.close()


def keep_house(breaker: Breaker, ear: Listener, stopping: threading.Event, every: float) -> None:
    """Start the housekeeper: every so many seconds it tidies up and asks for the reports that never came."""
    threading.Thread(
        target=_keep_house, args=(breaker, ear, stopping, every), name="sms-housekeeper", daemon=True
    ).start()


def _keep_house(breaker: Breaker, ear: Listener, stopping: threading.Event, every: float) -> None:
    next_tidying, pause = time.monotonic() + every, min(every, 1.0)
    while not stopping.wait(pause):
        pause = min(every, PROBE_SECONDS)
        try:
            ear.probe()
            if time.monotonic() >= next_tidying:
                next_tidying = time.monotonic() + every
                maintenance.tidy()
                if not breaker.closed:
                    polling.poll(limit=_POLL_LIMIT, stopping=stopping.is_set)
        except ProviderError as error:
            logger.warning("sms.poll_given_up: %s", error, extra={"event": "sms.poll_given_up"})
        except (OperationalError, InterfaceError) as error:
            logger.error("sms.database_lost (%s); tidying up later", type(error).__name__)
        # Whatever it was, it is tried again in a minute.
        except Exception:
            logger.exception("sms.housekeeping_failed", extra={"event": "sms.housekeeping_failed"})
        finally:
            connection.close()
