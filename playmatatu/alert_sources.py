"""Alerts about payments and the game, and counts of overdue work.

The counts reveal a worker that does no work although its heartbeat looks normal.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from game.models import Entry
from payments import refunds
from payments.models import Payment, Refund
from sms import clock
from sms.alerts import Condition

LATE = timedelta(minutes=1)
# A missing refund message counts as late work for this long after its stake expired. `game_worker` tries to queue the
# message for longer: until two days after the expiry.
_ANNOUNCED_FOR = timedelta(days=1)
# Counting stops at this number, so that large tables do not make a check slow.
_MOST = 1000


def late_counts() -> dict[str, int]:
    """Return, by kind of work, the number of rows whose work is more than a minute late, at most 1,000 each."""
    late = clock.now() - LATE
    rows: dict[str, QuerySet[Any]] = {
        "stakes_to_end": Entry.objects.filter(status=Entry.Status.OPEN, expires_at__lt=late),
        "stakes_to_activate": Entry.objects.filter(
            status=Entry.Status.AWAITING_PAYMENT,
            payment__status=Payment.Status.SUCCESS,
            payment__settled_at__lt=late,
            payment__refund_due=False,
            payment__contested=False,
        ),
        "refunds_to_announce": Entry.objects.filter(
            status=Entry.Status.EXPIRED,
            session=None,
            opened_at__isnull=False,
            refund_told=False,
            expires_at__lt=late,
            expires_at__gt=late - _ANNOUNCED_FOR,
            payment__in=refunds.due(),
        ),
        "payment_requests": Payment.objects.filter(collection=Payment.Collection.DUE, start_at__lt=late),
        "status_polls": Payment.objects.filter(next_ask_at__lt=late),
        "payments_to_announce": Payment.objects.filter(signal_due_since__lt=late),
        "payouts_to_announce": Refund.objects.filter(signal_due=True, state="succeeded", ended_at__lt=late),
    }
    return {work: late_rows.order_by()[:_MOST].count() for work, late_rows in rows.items()}


def contested(now: datetime) -> Iterable[Condition]:
    """Yield an alert condition if the provider has contradicted the final status of a payment."""
    number = Payment.objects.filter(contested=True).order_by()[:_MOST].count()
    if number:
        many = f"{number:,}{' or more' if number == _MOST else ''} payment{'s are' if number > 1 else ' is'} contested"
        yield Condition(
            "payments:contested",
            f"{many}: the provider reported success and then failure, or the reverse. Look each one up in the "
            "DMarkPay portal; the admin's list of disputed payments says what to do.",
        )


def late_work(now: datetime) -> Iterable[Condition]:
    """Yield an alert condition if some work of `game_worker` is over a minute late."""
    late = {work.replace("_", " "): count for work, count in late_counts().items() if count}
    if late:
        found = ", ".join(f"{count:,} {work}" for work, count in late.items())
        yield Condition(
            "game:overdue",
            f"Work is over a minute late: {found}. Check that manage.py game_worker runs, and read its log.",
        )


# `sms/alerts.py` calls these functions once a minute in each worker process.
SOURCES = (contested, late_work)
