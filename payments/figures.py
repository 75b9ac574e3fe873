"""Counts of payments that need attention, for /metrics and the admin's first page. Each count uses an index."""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, Min, Q, Sum

from payments import adoption, database, ledger, refunds
from payments.match_rules import Prize
from payments.models import Callback, MatchResult, Payment, Refund
from payments.states import Account

Collection = Payment.Collection


class Figures(NamedTuple):
    """Counts of payments that need attention.

    - `refused`, `unreadable`: callbacks of the last 24 hours
    - `answers_owed`: payments with a notification that no poll has followed yet
    - `to_adopt`: payments that the journal does not contain yet
    - `balances`: whole UGX on each account of the ledger
    """

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
    lost_ugx: int
    prizes_due: int
    prizes_held: int
    answers_owed: int
    to_adopt: int
    balances: dict[Account, int]


# A payment with a new notification should be polled within ten minutes, so one hour is too late.
_POLLED_SOON = timedelta(hours=1)


def current() -> Figures:
    """Return the current counts. This needs at most 14 queries."""
    # Three queries that each use a partial index. One query with all conditions would read every payment.
    rows = Payment.objects.order_by()
    to_start = rows.filter(collection__in=(Collection.DUE, Collection.ASKING)).aggregate(
        to_ask=Count("pk", filter=Q(collection=Collection.DUE)),
        oldest=Min("created_at", filter=Q(collection=Collection.DUE)),
        asking=Count("pk", filter=Q(collection=Collection.ASKING)),
    )
    # Every payment whose request was sent and that has no status yet has a time for its next poll.
    asked = rows.filter(collection=Collection.ASKED, next_ask_at__isnull=False).count()
    doubts = rows.filter(collection__in=(Collection.IN_DOUBT, Collection.UNRESOLVED)).aggregate(
        in_doubt=Count("pk", filter=Q(collection=Collection.IN_DOUBT)),
        unresolved=Count("pk", filter=Q(collection=Collection.UNRESOLVED)),
    )
    due = [part.aggregate(payments=Count("pk"), ugx=Sum("amount")) for part in refunds.due_in_parts()]
    payouts = Refund.objects.filter(
        state__in=(Refund.State.ORDERED, Refund.State.STARTED, Refund.State.IN_DOUBT)
    ).aggregate(
        under_way=Count("pk", filter=~Q(state=Refund.State.IN_DOUBT)),
        in_doubt=Count("pk", filter=Q(state=Refund.State.IN_DOUBT)),
    )
    callbacks = (
        Callback.objects.exclude(refusal="")
        .filter(seen_at=None)
        .filter(received_at__gte=database.now() - timedelta(days=1))
        .aggregate(refused=Count("pk", filter=~Q(answered=400)), unreadable=Count("pk", filter=Q(answered=400)))
    )
    prizes = MatchResult.objects.filter(prize__in=(Prize.PAYABLE.value, Prize.HELD.value)).aggregate(
        due=Count("pk", filter=Q(prize=Prize.PAYABLE.value)), held=Count("pk", filter=Q(prize=Prize.HELD.value))
    )
    polled_soon = rows.filter(next_ask_at__lt=database.now() + _POLLED_SOON)
    balances = ledger.balances()
    return Figures(
        to_ask=to_start["to_ask"],
        oldest_to_ask=to_start["oldest"],
        asked=to_start["asking"] + asked,
        in_doubt=doubts["in_doubt"],
        unresolved=doubts["unresolved"],
        contested=Payment.objects.filter(contested=True).count(),
        refund_due=sum(part["payments"] for part in due),
        refund_due_ugx=sum(part["ugx"] or 0 for part in due),
        refunds_under_way=payouts["under_way"],
        refunds_in_doubt=payouts["in_doubt"],
        refused=callbacks["refused"],
        unreadable=callbacks["unreadable"],
        lost_ugx=balances[Account.LOST],
        prizes_due=prizes["due"],
        prizes_held=prizes["held"],
        answers_owed=polled_soon.filter(answer_owed_since__isnull=False).count(),
        to_adopt=adoption.left(),
        balances=balances,
    )
