"""An entry ends: left by its player, past its time, or never paid. Who paid for nothing is told of the refund."""

from datetime import timedelta
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import QuerySet

from game import clock
from game.models import Entry, Player
from game.rules.locks import lock_level, locked_player
from game.signals import refund_became_due
from payments import collecting, refunding
from payments.models import Payment

# A stake that nobody paid for so long is given up. A payment that comes still later reopens it.
UNPAID_LIFE = timedelta(days=1)
# Of what ended longer ago nobody waits for the news any more.
_TELL_FOR = timedelta(days=2)
_AT_ONCE = 500


class Told(NamedTuple):
    told: int
    failed: int


def end_what_is_over(player: Player) -> None:
    """This player's entries that are past their time no longer stand in the way. The caller holds the player's lock."""
    over = Entry.objects.filter(player=player, status=Entry.Status.OPEN, expires_at__lte=clock.now())
    if over.update(status=Entry.Status.EXPIRED, reason="timed_out"):
        tell_refunds(Entry.objects.filter(player=player))


def give_up(entry: Entry, reason: str) -> None:
    """End an entry that is not paid."""
    Entry.objects.filter(pk=entry.pk, status=Entry.Status.AWAITING_PAYMENT).update(
        status=Entry.Status.EXPIRED, reason=reason
    )


def leave(entry: Entry) -> bool:
    """Take an entry out of the queue before it is matched. False: it was too late for that."""
    with transaction.atomic():
        Payment.objects.select_for_update().get(pk=entry.payment_id)
        locked_player(entry.player.phone)
        lock_level(entry.stake_amount)
        mine = Entry.objects.filter(pk=entry.pk)
        left = mine.filter(status__in=(Entry.Status.OPEN, Entry.Status.AWAITING_PAYMENT)).update(
            status=Entry.Status.EXPIRED, reason="left"
        )
        if left:
            collecting.withdraw(Payment.objects.filter(pk=entry.payment_id))
            tell_refunds(mine)
    return bool(left)


def expire_old() -> int:
    """Write down what is past its time. Returns how many."""
    return _end(Entry.objects.filter(status=Entry.Status.OPEN, expires_at__lte=clock.now()), "timed_out")


def give_up_unpaid() -> int:
    """End what nobody has paid for a day. Returns how many."""
    unpaid = Entry.objects.filter(
        status=Entry.Status.AWAITING_PAYMENT,
        created_at__lte=clock.now() - UNPAID_LIFE,
        payment__status=Payment.Status.PENDING,
    )
    return _end(unpaid, "not_paid")


def _end(entries: "QuerySet[Entry]", reason: str) -> int:
    """Whoever holds one of these rows may hold another that we want; what is busy waits for the next time."""
    with transaction.atomic():
        keys = [entry.pk for entry in _not_busy(entries).only("pk")]
        return Entry.objects.filter(pk__in=keys).update(status=Entry.Status.EXPIRED, reason=reason)


def tell_refunds(among: "QuerySet[Entry] | None" = None) -> Told:
    """Tell once of each entry that is over and whose money is due back. Those whose text fails stay to be told."""
    over = (Entry.objects.all() if among is None else among).filter(
        status=Entry.Status.EXPIRED,
        opened_at__isnull=False,
        session=None,
        refund_told=False,
        expires_at__gt=clock.now() - _TELL_FOR,
    )
    with transaction.atomic():
        untold = _not_busy(over.filter(payment__in=refunding.due())).select_related("player", "payment")[:_AT_ONCE]
        told, failed = [], 0
        for entry in untold:
            answers = refund_became_due.send_robust(Entry, entry=entry)
            if any(isinstance(answer, Exception) for _receiver, answer in answers):
                failed += 1
            else:
                told.append(entry.pk)
        Entry.objects.filter(pk__in=told).update(refund_told=True)
    return Told(len(told), failed)


def _not_busy(entries: "QuerySet[Entry]") -> "QuerySet[Entry]":
    return entries.select_for_update(of=("self",), skip_locked=connection.features.has_select_for_update_skip_locked)
