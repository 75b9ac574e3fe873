"""Count rows whose work should have been done at least a minute ago.

A worker's heartbeat only shows that its process runs. These counts also reveal a worker that does no work.
"""

from datetime import timedelta

from django.db.models import Model, QuerySet

from game.models import Entry
from payments import refunds
from payments.models import Payment
from sms import clock

LATE = timedelta(minutes=1)
# Only entries that expired within this time are counted. `game_worker` still handles these entries, because it sends
# refund messages for two days after expiry.
_ANNOUNCED_FOR = timedelta(days=1)
# Counting stops at this number, so that the cost of a check does not depend on the number of rows.
_MOST = 1000


def counts() -> dict[str, int]:
    """Return the number of overdue rows by kind of work, each at most 1,000."""
    late = clock.now() - LATE
    stakes = Entry.objects.filter(status=Entry.Status.OPEN, expires_at__lt=late)
    activations = Entry.objects.filter(
        status=Entry.Status.AWAITING_PAYMENT,
        payment__status=Payment.Status.SUCCESS,
        payment__settled_at__lt=late,
        payment__refund_due=False,
        payment__contested=False,
    )
    announcements = Entry.objects.filter(
        status=Entry.Status.EXPIRED,
        session=None,
        opened_at__isnull=False,
        refund_told=False,
        expires_at__lt=late,
        expires_at__gt=late - _ANNOUNCED_FOR,
        payment__in=refunds.due(),
    )
    requests = Payment.objects.filter(collection=Payment.Collection.DUE, start_at__lt=late)
    polls = Payment.objects.filter(next_ask_at__lt=late)
    return {
        "stakes_to_end": _count(stakes),
        "stakes_to_activate": _count(activations),
        "refunds_to_announce": _count(announcements),
        "payment_requests": _count(requests),
        "status_polls": _count(polls),
    }


def _count(rows: QuerySet[Model]) -> int:
    return rows.order_by()[:_MOST].count()
