"""What came to nothing is forgotten: stakes that nobody paid, levels and players that no entry needs, wrong codes.

A payment that any money, any callback or any doubt belongs to is never deleted.
"""

from datetime import timedelta
from typing import TypeVar

from django.db import connection, transaction
from django.db.models import Exists, Model, OuterRef, Q, QuerySet

from game import clock
from game.models import Entry, GameWorker, LinkRequest, Player, RefusedStake, StakeLevel, WrongCode
from game.rules.limits import WINDOW
from payments.models import Payment

# So long a stake that came to nothing can be looked at by its player and the operator.
KEEP_UNPAID = timedelta(days=30)
_AT_ONCE = 500
_Row = TypeVar("_Row", bound=Model)


def prune(limit: int = _AT_ONCE) -> int:
    """Delete up to `limit` rows of each sort. Returns how many unpaid stakes; more may be left when it is `limit`."""
    stakes = _prune_unpaid(limit)
    in_use = Entry.objects.filter(status__in=(Entry.Status.OPEN, Entry.Status.AWAITING_PAYMENT))
    _prune_unused(StakeLevel.objects.exclude(Exists(in_use.filter(stake_amount=OuterRef("amount")))), limit)
    _prune_unused(Player.objects.exclude(Exists(Entry.objects.filter(player=OuterRef("pk")))), limit)
    for attempts in (WrongCode.objects, LinkRequest.objects, RefusedStake.objects):
        old = attempts.filter(at__lt=clock.now() - WINDOW).values_list("pk", flat=True)[:limit]
        attempts.filter(pk__in=list(old)).delete()
    # Those that died: who ends in order takes its row away.
    GameWorker.objects.filter(seen_at__lt=clock.now() - timedelta(days=1)).delete()
    return stakes


def _prune_unpaid(limit: int) -> int:
    """Each payment is locked first, as everywhere; whoever holds one has a reason to keep it."""
    with transaction.atomic():
        payments = _not_busy(_nothing_came_of(Payment.objects.all()))
        keys = list(payments.order_by("pk").values_list("pk", flat=True)[:limit])
        # Asked again, now that nothing more can come of them.
        sure = list(_nothing_came_of(Payment.objects.filter(pk__in=keys)).values_list("pk", flat=True))
        Entry.objects.filter(payment__in=sure).delete()
        Payment.objects.filter(pk__in=sure).delete()
    return len(sure)


def _nothing_came_of(payments: "QuerySet[Payment]") -> "QuerySet[Payment]":
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
    """Locked, and asked again: an entry is only added under the lock of its player and of its stake level."""
    with transaction.atomic():
        keys = list(_not_busy(rows).order_by("pk").values_list("pk", flat=True)[:limit])
        rows.filter(pk__in=keys).delete()


def _not_busy(rows: "QuerySet[_Row]") -> "QuerySet[_Row]":
    return rows.select_for_update(of=("self",), skip_locked=connection.features.has_select_for_update_skip_locked)
