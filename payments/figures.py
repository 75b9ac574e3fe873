"""What of the payments needs a person or a machine now: for /metrics and the admin's first page. Each a counted query
that an index answers."""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, Min, Q, Sum

from payments import clock, refunding
from payments.models import Callback, Payment, Refund

Collection = Payment.Collection


class Figures(NamedTuple):
    """Counts of payments, but where said otherwise. `refused` and `unreadable`: callbacks of the last 24 hours."""

    to_ask: int
    oldest_to_ask: datetime | None
    asked: int
    in_doubt: int
    unresolved: int
    contested: int
    refund_due: int
    refund_due_ugx: int
    refunds_under_way: int
    refunds_in_doubt: int
    refused: int
    unreadable: int


def current() -> Figures:
    """Five queries."""
    open_orders = Payment.objects.filter(
        collection__in=(
            Collection.DUE,
            Collection.ASKING,
            Collection.ASKED,
            Collection.IN_DOUBT,
            Collection.UNRESOLVED,
        )
    ).aggregate(
        to_ask=Count("pk", filter=Q(collection=Collection.DUE)),
        oldest=Min("created_at", filter=Q(collection=Collection.DUE)),
        asked=Count("pk", filter=Q(collection__in=(Collection.ASKING, Collection.ASKED))),
        in_doubt=Count("pk", filter=Q(collection=Collection.IN_DOUBT)),
        unresolved=Count("pk", filter=Q(collection=Collection.UNRESOLVED)),
    )
    due = refunding.due().aggregate(payments=Count("pk"), ugx=Sum("amount"))
    refunds = Refund.objects.filter(
        state__in=(Refund.State.ORDERED, Refund.State.STARTED, Refund.State.IN_DOUBT)
    ).aggregate(
        under_way=Count("pk", filter=~Q(state=Refund.State.IN_DOUBT)),
        in_doubt=Count("pk", filter=Q(state=Refund.State.IN_DOUBT)),
    )
    callbacks = (
        Callback.objects.exclude(refusal="")
        .filter(received_at__gte=clock.now() - timedelta(days=1))
        .aggregate(refused=Count("pk", filter=~Q(answered=400)), unreadable=Count("pk", filter=Q(answered=400)))
    )
    return Figures(
        to_ask=open_orders["to_ask"],
        oldest_to_ask=open_orders["oldest"],
        asked=open_orders["asked"],
        in_doubt=open_orders["in_doubt"],
        unresolved=open_orders["unresolved"],
        contested=Payment.objects.filter(contested=True).count(),
        refund_due=due["payments"],
        refund_due_ugx=due["ugx"] or 0,
        refunds_under_way=refunds["under_way"],
        refunds_in_doubt=refunds["in_doubt"],
        refused=callbacks["refused"],
        unreadable=callbacks["unreadable"],
    )
