"""An entry ends: left by its player, expired, replaced or never paid. A payer whose money is due back is told."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import QuerySet

from game import clock
from game.models import Entry
from game.rules.locks import locked_player
from game.signals import refund_became_due
from payments import collecting, refunding
from payments.models import Payment

# A stake that nobody paid for this long ends. A payment that succeeds later activates it.
UNPAID_LIFE = timedelta(days=1)
# No refund message is sent about an entry that ended longer ago.
_TELL_FOR = timedelta(days=2)
_AT_ONCE = 500


class Told(NamedTuple):
    told: int
    failed: int


def end(entries: Sequence[Entry], reason: str) -> None:
    """End these entries. The caller holds their player's lock."""
    now = clock.now()
    for entry in entries:
        entry.status, entry.reason, entry.ended_at = Entry.Status.EXPIRED, reason, now
    if entries:
        Entry.objects.filter(pk__in=[entry.pk for entry in entries]).update(
            status=Entry.Status.EXPIRED, reason=reason, ended_at=now
        )


def end_expired(entries: Sequence[Entry]) -> Sequence[Entry]:
    """End the active ones past their expiry and return all. The caller holds their player's lock."""
    now = clock.now()
    expired = [
        entry
        for entry in entries
        if entry.status == Entry.Status.OPEN and entry.expires_at is not None and entry.expires_at <= now
    ]
    if expired:
        end(expired, "timed_out")
        tell_refunds(Entry.objects.filter(pk__in=[entry.pk for entry in expired]))
    return entries


def give_up(entry: Entry, reason: str) -> None:
    """End an entry that is not paid."""
    _write_end(Entry.objects.filter(pk=entry.pk, status=Entry.Status.AWAITING_PAYMENT), reason)


def leave(entry: Entry) -> bool:
    """Take an entry out of the queue before it is matched. Return False if it was too late for that.

    The stake level is not locked: a match locks the entry's own row, and then this update finds it matched.
    """
    with transaction.atomic():
        Payment.objects.select_for_update(no_key=True).get(pk=entry.payment_id)
        locked_player(entry.player.phone)
        mine = Entry.objects.filter(pk=entry.pk)
        left = _write_end(mine.filter(status__in=(Entry.Status.OPEN, Entry.Status.AWAITING_PAYMENT)), "left")
        if left:
            collecting.withdraw(Payment.objects.filter(pk=entry.payment_id))
            tell_refunds(mine)
    return bool(left)


def expire_old() -> int:
    """End up to 500 active entries past their expiry. Return the number."""
    return _end_free(Entry.objects.filter(status=Entry.Status.OPEN, expires_at__lte=clock.now()), "timed_out")


def give_up_unpaid() -> int:
    """End up to 500 entries that nobody has paid for a day. Return the number."""
    unpaid = Entry.objects.filter(
        status=Entry.Status.AWAITING_PAYMENT,
        created_at__lte=clock.now() - UNPAID_LIFE,
        payment__status=Payment.Status.PENDING,
    )
    return _end_free(unpaid, "not_paid")


def _end_free(entries: "QuerySet[Entry]", reason: str) -> int:
    """End the entries that no other transaction has locked; the next run ends the others.

    Waiting for a locked row could deadlock: its transaction may want a row that this one has locked.
    """
    with transaction.atomic():
        keys = [entry.pk for entry in _not_locked(entries).only("pk")[:_AT_ONCE]]
        return _write_end(Entry.objects.filter(pk__in=keys), reason) if keys else 0


def _write_end(entries: "QuerySet[Entry]", reason: str) -> int:
    return entries.update(status=Entry.Status.EXPIRED, reason=reason, ended_at=clock.now())


def tell_refunds(among: "QuerySet[Entry] | None" = None) -> Told:
    """Send `refund_became_due` once for each ended entry whose money is due back. Entries whose receiver fails stay."""
    over = (Entry.objects.all() if among is None else among).filter(
        status=Entry.Status.EXPIRED,
        opened_at__isnull=False,
        session=None,
        refund_told=False,
        expires_at__gt=clock.now() - _TELL_FOR,
    )
    with transaction.atomic():
        due = _not_locked(over.filter(payment__in=refunding.due())).select_related("player", "payment")[:_AT_ONCE]
        told, failed = [], 0
        for entry in due:
            responses = refund_became_due.send_robust(Entry, entry=entry)
            if any(isinstance(response, Exception) for _receiver, response in responses):
                failed += 1
            else:
                told.append(entry.pk)
        if told:
            Entry.objects.filter(pk__in=told).update(refund_told=True)
    return Told(len(told), failed)


def _not_locked(entries: "QuerySet[Entry]") -> "QuerySet[Entry]":
    skip_locked = connection.features.has_select_for_update_skip_locked
    return entries.select_for_update(of=("self",), no_key=True, skip_locked=skip_locked)
