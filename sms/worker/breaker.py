"""Whether the worker may send: all of it, one probe, or nothing for now."""

import logging
import threading
import time
from collections import deque

from sms.errors import ProviderUnavailable
from sms.models import Status
from sms.sending.attempt import Outcome
from sms.sending.retries import token_refused

logger = logging.getLogger("sms.worker")

# The provider is in trouble when so many of the last sends failed, of at least so many.
WINDOW, ENOUGH, SHARE = 40, 20, 0.8
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0


class Breaker:
    """Closes when credentials are refused or most sends fail; then lets one probe through after growing pauses."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._pause = FIRST_PAUSE
        self._next_probe = 0.0
        self.reason = ""

    @property
    def closed(self) -> bool:
        return bool(self.reason)

    def seconds_to_probe(self) -> float:
        return max(0.0, self._next_probe - time.monotonic())

    def note(self, outcome: Outcome) -> None:
        """Learn from an outcome; any success opens the gate."""
        with self._lock:
            if outcome.status == Status.SENT:
                self._recent.append(True)
                if self.reason:
                    logger.warning("sms.sending_again", extra={"event": "sms.sending_again"})
                    self.reason, self._pause = "", FIRST_PAUSE
                    self._recent.clear()
            elif token_refused(outcome):
                self._close(str(outcome.reason))
            elif isinstance(outcome.reason, ProviderUnavailable):
                self._recent.append(False)
                failed = self._recent.count(False)
                if self.reason or (len(self._recent) >= ENOUGH and failed >= SHARE * len(self._recent)):
                    self._close(str(outcome.reason))

    def _close(self, reason: str) -> None:
        if self.reason and self.seconds_to_probe() > 0:
            return  # what was under way when it closed
        if not self.reason:
            logger.critical("sms.sending_paused: %s", reason, extra={"event": "sms.sending_paused"})
        self.reason = reason
        self._next_probe = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
