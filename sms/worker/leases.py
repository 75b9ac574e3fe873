"""Renew this worker's leases on claimed messages, and free expired leases that other senders left behind."""

import logging
from collections.abc import Collection
from datetime import datetime, timedelta

from sms import clock
from sms.sending.claims import free_leases_over_before, renew_leases

logger = logging.getLogger("sms.worker")


class Leases:
    """The leases of this worker's messages.

    Until `hold_until` (monotonic), no other worker can have claimed these messages.
    """

    def __init__(self, claimer: str, seconds: float) -> None:
        self._claimer, self._seconds = claimer, seconds
        self.hold_until = self.next_renewal = 0.0

    def claimed(self, asked_at: float, first: bool) -> None:
        """Record a claim that was sent to the database at `asked_at` (monotonic).

        `first`: the worker held no message before this claim.
        """
        if first:
            self.hold_until, self.next_renewal = asked_at + self._seconds, asked_at + self._seconds / 3

    def renew(self, ids: Collection[int]) -> set[int]:
        """Renew the leases of `ids` if renewal is due. Return the ids that this worker no longer holds."""
        now = clock.monotonic()
        if now < self.next_renewal or not ids:
            return set()
        kept = renew_leases(self._claimer, ids, self._seconds)
        self.hold_until, self.next_renewal = now + self._seconds, now + self._seconds / 3
        return set(ids) - kept


class ExpiredLeaseReaper:
    """Frees leases that had expired at one check and are still not renewed at the next check, one lease time later.

    A running sender renews its leases about three times between two checks. Therefore this worker does not take a
    message that another worker is sending, even if that worker was suspended, the database hung, or a clock was
    changed. The first check frees only leases that expired more than one lease time ago.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: datetime | None = None
        self.next_look = 0.0

    def look(self) -> None:
        if clock.monotonic() < self.next_look:
            return
        seen = clock.read()
        if freed := free_leases_over_before(self._seen or seen - timedelta(seconds=self._seconds)):
            logger.warning(
                "sms.reclaimed: %d messages of senders that ended without finishing are queued again",
                freed,
                extra={"event": "sms.reclaimed", "messages": freed},
            )
        self._seen, self.next_look = seen, clock.monotonic() + self._seconds
