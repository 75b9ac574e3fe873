"""Compute when a payment's status is polled next.

These functions are pure. The times are columns of the payment and not part of the journal.
"""

from datetime import datetime, timedelta

from payments.models import Payment

DAY = timedelta(days=1)
_FIRST = (5.0, 10.0, 20.0, 40.0)
# Successful payments are polled again this long after the money arrived, in case they were reversed without a
# notification.
_LATER = (DAY, timedelta(days=7))


def next_pause(elapsed: float) -> float | None:
    """Return the seconds until the next poll, or None if more than a day has passed since the request.

    `elapsed`: seconds since the payment request. Polls are made after 5, 10, 20 and 40 s, then each minute, and after
    half an hour every ten minutes.
    """
    for point in _FIRST:
        if elapsed < point:
            return point - elapsed
    if elapsed >= DAY.total_seconds():
        return None
    return 60.0 if elapsed < 1800 else 600.0


def planned(payment: Payment, now: datetime) -> datetime | None:
    """Return the next poll of a payment with a final status, or None if none is due.

    If a notification has arrived that no poll has answered yet, that poll comes first.
    """
    since = payment.answer_owed_since
    if since is None and payment.payout == "ordered" and not _confirmed(payment):
        since = payment.payout_ordered_at
    if since is not None:
        pause = next_pause((now - since).total_seconds())
        return None if pause is None else now + timedelta(seconds=pause)
    if payment.collected_at is None or not payment.provider:
        return None
    return next((at for span in _LATER if (at := payment.collected_at + span) > now), None)


def _confirmed(payment: Payment) -> bool:
    ok, ordered = payment.ok_at, payment.payout_ordered_at
    return ok is not None and ordered is not None and ok > ordered
