"""How long this worker may take what it has claimed for its own, and when it may say that another's time is over."""

import logging
import time
from collections.abc import Collection

from sms.sending.claims import free_expired_leases, renew_leases

logger = logging.getLogger("sms.worker")


class Leases:
    """`hold_until` (monotonic): until then what is in hand is surely this worker's."""

    def __init__(self, claimer: str, seconds: float) -> None:
        self._claimer, self.seconds = claimer, seconds
        self.hold_until = 0.0
        self._next_renewal = self._next_judgement = 0.0
        self._turn_began = time.monotonic()

    def claimed(self, asked_at: float, first: bool) -> None:
        """Texts were claimed by a statement sent at `asked_at`; `first`: there were none in hand before."""
        if first:
            self.hold_until = asked_at + self.seconds
            self._next_renewal = asked_at + self.seconds / 3

    def renew(self, ids: Collection[int]) -> set[int]:
        """Renew what is in hand, if it is time. Returns the ids that turned out to be no longer this worker's."""
        now = time.monotonic()
        if now < self._next_renewal or not ids:
            return set()
        kept = renew_leases(self._claimer, ids, self.seconds)
        self.hold_until, self._next_renewal = now + self.seconds, now + self.seconds / 3
        return set(ids) - kept

    def judge(self) -> None:
        """Free what others left, unless there was no time for them to renew it."""
        self.notice_stall()
        now = time.monotonic()
        if now < self._next_judgement:
            return
        self._next_judgement = now + max(1.0, self.seconds / 3)
        if freed := free_expired_leases():
            logger.warning("sms.reclaimed", extra={"event": "sms.reclaimed", "messages": freed})

    def turn_begins(self, at: float) -> None:
        """`at`: when the sleep before it was to end at the latest."""
        self._turn_began = at

    def notice_stall(self) -> None:
        """After a turn of more than a third of a lease nobody's lease is judged for a lease's time: what stalled this
        worker, a database that hung or a machine that stood still, may have kept the others from renewing theirs."""
        if time.monotonic() > self._turn_began + self.seconds / 3:
            self.put_off()
            self._turn_began = time.monotonic()

    def put_off(self) -> None:
        self._next_judgement = time.monotonic() + self.seconds
        self._next_renewal = 0.0

    def next_turn(self, busy: bool) -> float:
        """When the next turn is due at the latest."""
        return min(self._next_judgement, self._next_renewal) if busy else self._next_judgement
