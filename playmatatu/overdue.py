"""Count work that should have been done at least a minute ago, read from the rows themselves.

A worker's heartbeat only shows that its process runs. These counts also notice a worker whose thread has ended.
"""

from datetime import timedelta

from django.db.models import Model, QuerySet

from game.models import Entry
from payments.models import Payment
from sms import clock

LATE = timedelta(minutes=1)
# Counting stops there, so that a check costs the same with any number of rows.
_MOST = 1000


def counts() -> dict[str, int]:
    """Return the number of overdue rows by kind of work, each at most 1,000. An index answers every query."""
    late = clock.now() - LATE
    stakes = Entry.objects.filter(status=Entry.Status.OPEN, expires_at__lt=late)
    activations = Entry.objects.filter(
        status=Entry.Status.AWAITING_PAYMENT,
        payment__status=Payment.Status.SUCCESS,
        payment__settled_at__lt=late,
        payment__refund_due=False,
        payment__contested=False,
    )
    requests = Payment.objects.filter(collection=Payment.Collection.DUE, start_at__lt=late)
    polls = Payment.objects.filter(next_ask_at__lt=late)
    return {
        "stakes_to_end": _count(stakes),
        "stakes_to_activate": _count(activations),
        "payment_requests": _count(requests),
        "status_polls": _count(polls),
    }


def _count(rows: QuerySet[Model]) -> int:
    return rows.order_by()[:_MOST].count()
