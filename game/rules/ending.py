"""An entry ends: left by its player, past its time, or never paid."""

from datetime import timedelta

from django.db import connection, transaction
from django.db.models import QuerySet

from game import clock
from game.models import Entry, Player
from game.rules.locks import lock_level, locked_player
from payments.models import Payment

# A stake that nobody paid for so long is given up. A payment that comes still later reopens it.
UNPAID_LIFE = timedelta(days=1)


def end_what_is_over(player: Player) -> None:
    """Entries of this player that are past their time no longer stand in the way."""
    Entry.objects.filter(player=player, status=Entry.Status.OPEN, expires_at__lte=clock.now()).update(
        status=Entry.Status.EXPIRED, reason="timed_out"
    )


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
        left = Entry.objects.filter(pk=entry.pk, status__in=(Entry.Status.OPEN, Entry.Status.AWAITING_PAYMENT)).update(
            status=Entry.Status.EXPIRED, reason="left"
        )
        _mark_refunds(Payment.objects.filter(pk=entry.payment_id))
    return bool(left)


def _mark_refunds(payments: "QuerySet[Payment]") -> None:
    """Money that was collected for an entry which ended without a match is the operator's to give back."""
    unplayed = Entry.objects.filter(
        status=Entry.Status.EXPIRED, opened_at__isnull=False, session=None, payment__callbacks__applied=True
    )
    payments.filter(entry__in=unplayed, status=Payment.Status.SUCCESS, refund_due=False, refunded_at=None).update(
        refund_due=True
    )


def expire_old() -> int:
    """Write down what is past its time. Returns how many."""
    now = clock.now()
    timed_out = Entry.objects.filter(status=Entry.Status.OPEN, expires_at__lte=now)
    unpaid = Entry.objects.filter(
        status=Entry.Status.AWAITING_PAYMENT,
        created_at__lte=now - UNPAID_LIFE,
        payment__status=Payment.Status.PENDING,
    )
    ended = _end(timed_out, "timed_out") + _end(unpaid, "not_paid")
    # Payments are locked first everywhere, so this waits until the entries' locks are gone.
    _mark_refunds(Payment.objects.all())
    return ended


def _end(entries: "QuerySet[Entry]", reason: str) -> int:
    """Whoever holds one of these rows may hold another that we want; what is busy waits for the next time."""
    with transaction.atomic():
        rows = entries.select_for_update(
            of=("self",), skip_locked=connection.features.has_select_for_update_skip_locked
        )
        keys = [entry.pk for entry in rows.only("pk")]
        return Entry.objects.filter(pk__in=keys).update(status=Entry.Status.EXPIRED, reason=reason)
