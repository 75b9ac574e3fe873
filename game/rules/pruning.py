"""Delete old rows: unpaid stakes, players without entries, stake levels without waiting entries, and attempts that were
counted for limits.

A payment is never deleted if it has money, a callback or an ambiguous request.
"""

from datetime import timedelta
from typing import TypeVar

from django.db import transaction
from django.db.models import Exists, Model, OuterRef, Q, QuerySet

from game.models import Entry, GameWorker, LinkRequest, Player, RefusedStake, StakeLevel, WrongCode
from game.rules.limits import WINDOW
from payments.database import not_locked
from payments.models import Payment, PaymentEvent
from sms import clock

# Unpaid stakes are kept for this long, so that the player and the operator can look at them.
KEEP_UNPAID = timedelta(days=30)
_AT_ONCE = 500
# A periodic run checks this number of rows in each large table. The next run continues after them.
_WINDOW = 1000
# A periodic run deletes stake levels only if there are more than this. If the level of a common stake were deleted and
# created again and again, the payers of this stake would wait for each other.
_LEVELS = 1000
_Row = TypeVar("_Row", bound=Model)


def prune(limit: int = _AT_ONCE, positions: "dict[str, int] | None" = None) -> int:
    """Delete up to `limit` rows from each table. Return the number of deleted stakes; if it equals `limit`, there may
    be more to delete.

    `positions`: the ids at which this and the next run of a periodic task start. The caller keeps this dict between the
    runs. Without it, whole tables are checked.
    """
    stakes = _prune_unpaid(limit, _next(Payment.objects.all(), positions))
    if positions is None or StakeLevel.objects.all()[_LEVELS:].exists():
        in_use = Entry.objects.filter(status__in=(Entry.Status.OPEN, Entry.Status.AWAITING_PAYMENT))
        _prune_unused(StakeLevel.objects.exclude(Exists(in_use.filter(stake_amount=OuterRef("amount")))), limit)
    players = _next(Player.objects.all(), positions)
    _prune_unused(players.exclude(Exists(Entry.objects.filter(player=OuterRef("pk")))), limit)
    for attempts in (WrongCode.objects, LinkRequest.objects, RefusedStake.objects):
        old = attempts.filter(at__lt=clock.now() - WINDOW).values_list("pk", flat=True)[:limit]
        attempts.filter(pk__in=list(old)).delete()
    # Rows of workers that crashed. A worker that shuts down regularly deletes its own row.
    GameWorker.objects.filter(seen_at__lt=clock.now() - timedelta(days=1)).delete()
    return stakes


def _next(rows: "QuerySet[_Row]", positions: "dict[str, int] | None") -> "QuerySet[_Row]":
    """Return the next 1,000 rows after the stored position, and start over at the end of the table."""
    if positions is None:
        return rows
    table = rows.model._meta.db_table
    start = positions.get(table, 0)
    following = rows.filter(pk__gt=start).order_by("pk")
    last = following.values_list("pk", flat=True)[_WINDOW - 1 : _WINDOW].first()
    positions[table] = last or 0
    return following if last is None else following.filter(pk__lte=last)


def _prune_unpaid(limit: int, among: "QuerySet[Payment]") -> int:
    """Delete unpaid stakes, except those whose payment another transaction has locked."""
    with transaction.atomic():
        payments = not_locked(_without_result(among), no_key=False)
        keys = list(payments.order_by("pk").values_list("pk", flat=True)[:limit])
        # Check again: the rows are locked now and cannot change any more.
        sure = list(_without_result(Payment.objects.filter(pk__in=keys)).values_list("pk", flat=True))
        Entry.objects.filter(payment__in=sure).delete()
        PaymentEvent.objects.filter(payment__in=sure).delete()
        Payment.objects.filter(pk__in=sure).delete()
    return len(sure)


def _without_result(payments: "QuerySet[Payment]") -> "QuerySet[Payment]":
    done = (Payment.Collection.NONE, Payment.Collection.WITHDRAWN, Payment.Collection.OVER)
    return payments.filter(
        ~Q(status=Payment.Status.SUCCESS),
        callbacks=None,
        refunds=None,
        collected_at=None,
        refund_due=False,
        collection__in=done,
        created_at__lt=clock.now() - KEEP_UNPAID,
        entry__status=Entry.Status.EXPIRED,
        entry__opened_at=None,
    )


def _prune_unused(rows: "QuerySet[_Row]", limit: int) -> None:
    """Delete unused rows. The check is repeated under a lock, because an entry may have been added since the first
    check.
    """
    with transaction.atomic():
        keys = list(not_locked(rows, no_key=False).order_by("pk").values_list("pk", flat=True)[:limit])
        if keys:
            rows.filter(pk__in=keys).delete()
