"""Free expired leases that other senders left behind."""

import logging
from datetime import datetime, timedelta

from sms import clock
from sms.sending.claims import free_leases_over_before

logger = logging.getLogger("sms.worker")


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
