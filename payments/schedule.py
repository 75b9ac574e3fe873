"""When a payment is polled next. Pure: the schedule is columns of the payment, and no part of the journal."""

from datetime import datetime, timedelta

from payments.models import Payment

DAY = timedelta(days=1)
_FIRST = (5.0, 10.0, 20.0, 40.0)
# A reversal without a notification is found by these polls, counted from the time at which the money came.
_LATER = (DAY, timedelta(days=7))


def next_pause(elapsed: float) -> float | None:
    """Seconds until the next poll, `elapsed` seconds after the request: at 5, 10, 20, 40 s, then each minute, after
    half an hour each ten minutes; None after a day."""
    for point in _FIRST:
        if elapsed < point:
            return point - elapsed
    if elapsed >= DAY.total_seconds():
        return None
    return 60.0 if elapsed < 1800 else 600.0


def planned(payment: Payment, now: datetime) -> datetime | None:
    """The next poll of a payment with a status; None if none is due. An answer that is owed comes first."""
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
