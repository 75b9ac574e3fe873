"""Free messages that other senders claimed and then left behind, for example after a crash."""

import logging
from datetime import datetime, timedelta

from sms import clock
from sms.sending.claims import free_leases_over_before

logger = logging.getLogger("sms.worker")


class ExpiredLeaseReaper:
    """Frees messages whose lease (the time limit of their claim) had already expired at the previous check.

    Checks are one lease time apart. A running sender renews its leases about three times between two checks. Therefore
    no message is taken from a running sender, even if the sender was suspended, the database did not respond, or a
    clock was changed. The first check frees leases that expired more than one lease time ago.
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
