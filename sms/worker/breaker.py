"""Whether the worker may send: all of it, one probe, or nothing for now."""

import logging
import time
from collections import deque

from sms.errors import ProviderRejected, ProviderUnavailable, Trouble
from sms.models import Status
from sms.sending.attempt import Outcome
from sms.sending.retries import pauses_all

logger = logging.getLogger("sms.worker")

# The provider is in trouble when so many of the last sends failed, of at least so many.
WINDOW, ENOUGH, SHARE = 40, 20, 0.8
# The account is refused when DMark says the same of so many texts in a row, to as many numbers.
SAME_REFUSALS = 10
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0


class Breaker:
    """Opens the circuit when credentials or the account are refused or most sends fail; then lets one probe through
    after growing pauses. `trouble` and `reason` say why, `taken_back` whose refusals turned out to be the account's.
    """

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        # The last refusals, all in the same words: message id by phone.
        self._refused: dict[str, int] = {}
        self._refusal = ""
        self._pause = FIRST_PAUSE
        self._next_probe = 0.0
        self.trouble = Trouble.NONE
        self.reason = ""
        self.taken_back: list[int] = []

    @property
    def closed(self) -> bool:
        """Nothing but a probe is sent."""
        return self.trouble != Trouble.NONE

    def seconds_to_probe(self) -> float:
        return max(0.0, self._next_probe - time.monotonic())

    def note(self, outcome: Outcome) -> None:
        """Learn from an outcome; any success ends the pause."""
        reason = outcome.reason
        if outcome.status == Status.SENT:
            self._passed()
        elif pauses_all(reason):
            self._close(reason.trouble, str(reason))  # type: ignore[union-attr]  # only a ProviderError pauses all
        elif isinstance(reason, ProviderUnavailable):
            self._recent.append(False)
            failed = self._recent.count(False)
            if self.closed or (len(self._recent) >= ENOUGH and failed >= SHARE * len(self._recent)):
                self._close(reason.trouble, str(reason))
        elif isinstance(reason, ProviderRejected) and not reason.ambiguous:
            self._note_refusal(outcome, str(reason))

    def _passed(self) -> None:
        self._recent.append(True)
        self._refused.clear()
        if self.closed:
            logger.warning("sms.sending_again", extra={"event": "sms.sending_again"})
            self.trouble, self.reason, self._pause = Trouble.NONE, "", FIRST_PAUSE
            self._recent.clear()

    def _note_refusal(self, outcome: Outcome, words: str) -> None:
        if words != self._refusal:
            self._refusal = words
            self._refused.clear()
        self._refused[outcome.message.phone] = outcome.message.pk
        if len(self._refused) >= SAME_REFUSALS or (self.closed and words == self.reason):
            self.taken_back += self._refused.values()
            self._refused.clear()
            self._close(Trouble.ACCOUNT, words)

    def _close(self, trouble: Trouble, reason: str) -> None:
        if self.closed and self.seconds_to_probe() > 0:
            return  # what was under way when it closed
        if not self.closed:
            logger.critical("sms.sending_paused: %s", reason, extra={"event": "sms.sending_paused"})
        self.trouble, self.reason = trouble, reason
        self._next_probe = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
