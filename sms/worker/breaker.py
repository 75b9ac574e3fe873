"""The circuit breaker decides what the worker sends: all messages, a single message as a probe, or nothing."""

from collections import deque

from sms import clock
from sms.conf import PROVIDER
from sms.errors import ProviderRejected, ProviderUnavailable, Trouble
from sms.logs import get_logger
from sms.models import Status
from sms.sending.attempt import Result, pauses_all

logger = get_logger("sms.worker")

# The circuit breaker opens (pauses sending) if DMark was unavailable in at least 80% of the last 40 sends (minimum 20).
WINDOW, ENOUGH, SHARE = 40, 20, 0.8
# The circuit breaker also opens if DMark refuses messages to 10 different numbers in a row with the same words.
SAME_REFUSALS = 10
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0


class Breaker:
    """Circuit breaker: opens (pauses sending) if DMark refuses the account, the settings are wrong, or most sends fail.

    While it is open, single messages are sent as probes, at growing intervals. `taken_back`: ids of refused messages to
    queue again, because DMark refused the account and not these messages.
    """

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        # Maps a phone number to the id of its last message that DMark refused with the words in `_refusal`.
        self._refused: dict[str, int] = {}
        self._refusal = ""
        self._pause, self._next_probe = FIRST_PAUSE, 0.0
        self.trouble, self.reason = Trouble.NONE, ""
        self.taken_back: list[int] = []

    @property
    def is_open(self) -> bool:
        """True if the worker sends only probes, or nothing."""
        return self.trouble != Trouble.NONE

    def seconds_to_probe(self) -> float:
        return max(0.0, self._next_probe - clock.monotonic())

    def record(self, result: Result) -> None:
        """Open or close the breaker after the result of one message. Any success closes the breaker."""
        reason = result.reason
        if result.status == Status.SENT:
            self._recent.append(True)
            self._refused.clear()
            if self.is_open:
                logger.warning("sms.sending_again: %s accepts messages again", PROVIDER)
                self.trouble, self.reason, self._pause = Trouble.NONE, "", FIRST_PAUSE
                self._recent.clear()
        elif pauses_all(reason):
            self._open(reason.trouble, str(reason))  # type: ignore[union-attr]  # only a ProviderError pauses all
        elif isinstance(reason, ProviderUnavailable):
            self._recent.append(False)
            failed = self._recent.count(False)
            if self.is_open or (len(self._recent) >= ENOUGH and failed >= SHARE * len(self._recent)):
                self._open(reason.trouble, str(reason))
        elif isinstance(reason, ProviderRejected) and not reason.ambiguous:
            self._record_refusal(result, str(reason))

    def _record_refusal(self, result: Result, words: str) -> None:
        if words != self._refusal:
            self._refusal = words
            self._refused.clear()
        self._refused[result.message.phone] = result.message.pk
        if len(self._refused) >= SAME_REFUSALS or (self.is_open and words == self.reason):
            self.taken_back += self._refused.values()
            self._refused.clear()
            self._open(Trouble.ACCOUNT, words)

    def _open(self, trouble: Trouble, reason: str) -> None:
        if self.is_open and self.seconds_to_probe() > 0:
            return  # This message was sent before the breaker opened. Only a failed probe extends the pause.
        if not self.is_open:
            logger.critical("sms.sending_paused: %s", reason)
        self.trouble, self.reason = trouble, reason
        self._next_probe = clock.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
