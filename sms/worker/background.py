"""What runs in a worker beside the sending: a listener that wakes it, and a housekeeper. Texts go out without both."""

import logging
import threading

from django.db import InterfaceError, OperationalError, connection

from sms.errors import ProviderError
from sms.outbox import CHANNEL
from sms.reports import polling
from sms.worker import housekeeping
from sms.worker.breaker import Breaker

logger = logging.getLogger("sms.worker")

_POLL_LIMIT = 100


def start(gate: Breaker, wake: threading.Event, stopping: threading.Event, every: float) -> None:
    """Start both, as threads that end with `stopping` or the process. `every`: seconds between two tidyings."""
    threading.Thread(target=_keep_house, args=(gate, stopping, every), name="sms-housekeeper", daemon=True).start()
    if connection.vendor == "postgresql":
        threading.Thread(target=_listen, args=(wake, stopping), name="sms-listener", daemon=True).start()


def _keep_house(gate: Breaker, stopping: threading.Event, every: float) -> None:
    """Now and then tidy up, and ask for the reports that never came."""
    while not stopping.wait(every):
        try:
            housekeeping.tidy()
            if not gate.closed:
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


def _listen(wake: threading.Event, stopping: threading.Event) -> None:
    """Wake the worker at each NOTIFY. Needs a connection of its own, straight to the server."""
    while not stopping.is_set():
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {CHANNEL}")
            wake.set()  # what came while nobody listened
            while not stopping.is_set():
                for _ in connection.connection.notifies(timeout=5.0):
                    wake.set()
        # The poll still finds everything; this thread only makes it sooner.
        except Exception as error:  # noqa: BLE001
            logger.warning("sms.listen_lost (%s); polling meanwhile", type(error).__name__)
            connection.close()
            stopping.wait(1.0)
