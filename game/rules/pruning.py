"""Delete old unpaid stakes, unused players and stake levels, and old rows that count attempts for a limit.

A payment is kept if it has received money, a callback or a refund, or if its request may still be open.
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

# Unpaid stakes are kept this long for players and operators to look at.
KEEP_UNPAID = timedelta(days=30)
_AT_ONCE = 500
# Number of rows of a large table that one periodic run checks. The next run continues after these rows.
_WINDOW = 1000
# `game_worker` prunes stake levels only if there are more than this. Deleting and recreating a popular level would make
# payers wait for each other.
_LEVELS = 1000
_Row = TypeVar("_Row", bound=Model)


def prune(limit: int = _AT_ONCE, positions: "dict[str, int] | None" = None) -> int:
    """Delete up to `limit` rows of each kind. Return the number of deleted stakes.

    `positions`: the last checked id of each table, updated for the next run. If it is None, whole tables are checked.
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
    # Delete the rows of workers that crashed over a day ago. A worker that stops normally deletes its own row.
    GameWorker.objects.filter(seen_at__lt=clock.now() - timedelta(days=1)).delete()
    return stakes


def _next(rows: "QuerySet[_Row]", positions: "dict[str, int] | None") -> "QuerySet[_Row]":
    """Return the next 1,000 rows after the stored position, or all rows if `positions` is None."""
    if positions is None:
        return rows
    table = rows.model._meta.db_table
    start = positions.get(table, 0)
    following = rows.filter(pk__gt=start).order_by("pk")
    last = following.values_list("pk", flat=True)[_WINDOW - 1 : _WINDOW].first()
    positions[table] = last or 0
    return following if last is None else following.filter(pk__lte=last)


def _prune_unpaid(limit: int, among: "QuerySet[Payment]") -> int:
    """Delete old unpaid stakes, except those whose payment is locked by another transaction."""
    with transaction.atomic():
        payments = not_locked(_without_result(among), no_key=False)
        keys = list(payments.order_by("pk").values_list("pk", flat=True)[:limit])
        # Repeat the conditions, because a payment may have changed after it was found and before it was locked.
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
    """Delete unused rows. They are locked and then checked again, because an entry may have been added meanwhile."""
    with transaction.atomic():
        keys = list(not_locked(rows, no_key=False).order_by("pk").values_list("pk", flat=True)[:limit])
        if keys:
            rows.filter(pk__in=keys).delete()
