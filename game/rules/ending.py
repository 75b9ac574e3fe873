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
from payments import adoption, collection, journal, refunds, uses
from payments.models import Payment

# A stake that stays unpaid for this long ends. A payment that succeeds later still activates it.
UNPAID_LIFE = timedelta(days=1)
# No refund message is sent about an entry that ended longer ago.
_ANNOUNCE_FOR = timedelta(days=2)
_AT_ONCE = 500


class Announced(NamedTuple):
    done: int
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
        # `announce_refunds` books their money: the lock of a payment comes before the player's.
        end(expired, "timed_out")
    return entries


def give_up(entry: Entry, reason: str) -> None:
    """End an entry that is not paid."""
    _write_end(Entry.objects.filter(pk=entry.pk, status=Entry.Status.AWAITING_PAYMENT), reason)


def leave(entry: Entry) -> bool:
    """Take an entry out of the queue before it is matched. Return False if it was too late for that.

    The stake level is not locked: a match locks the entry's own row, and then this update finds it matched.
    """
    with journal.writing():
        payment = adoption.locked(entry.payment_id)
        locked_player(entry.player.phone)
        mine = Entry.objects.filter(pk=entry.pk)
        left = _write_end(mine.filter(status__in=(Entry.Status.OPEN, Entry.Status.AWAITING_PAYMENT)), "left")
        if left:
            collection.withdraw(payment)
            _announce(mine.select_related("player", "session").get(), payment)
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


def announce_refunds() -> Announced:
    """Book each entry that ended without a match as refund due, and send `refund_became_due` once.

    Entries whose receiver fails stay for a later run.
    """
    over = Entry.objects.filter(
        status=Entry.Status.EXPIRED,
        opened_at__isnull=False,
        session=None,
        refund_told=False,
        expires_at__gt=clock.now() - _ANNOUNCE_FOR,
    )
    keys = over.filter(payment__in=refunds.due()).order_by("pk").values_list("pk", "payment_id")[:_AT_ONCE]
    done = failed = 0
    skip = connection.features.has_select_for_update_skip_locked
    for key, payment_id in list(keys):
        with journal.writing():
            payment = Payment.objects.select_for_update(no_key=True, skip_locked=skip).filter(pk=payment_id).first()
            entry = over.select_related("player", "session").filter(pk=key).first() if payment is not None else None
            if payment is None or entry is None:
                continue
            adoption.ensure(payment)
            announced = _announce(entry, payment)
            done, failed = done + announced, failed + (not announced)
    return Announced(done, failed)


def _announce(entry: Entry, payment: Payment) -> bool:
    """Book an ended entry's money as refund due and signal it. The caller holds the payment's lock.

    False: a receiver failed, and the signal has to be sent again.
    """
    if entry.opened_at is None or payment.collected_at is None:
        return True
    if payment.place == "in_use":
        uses.unused(payment)
    if payment.place != "refund_due":
        return True
    entry.payment = payment
    responses = refund_became_due.send_robust(Entry, entry=entry)
    if any(isinstance(response, Exception) for _receiver, response in responses):
        return False
    Entry.objects.filter(pk=entry.pk).update(refund_told=True)
    return True


def _not_locked(entries: "QuerySet[Entry]") -> "QuerySet[Entry]":
    skip_locked = connection.features.has_select_for_update_skip_locked
    return entries.select_for_update(of=("self",), no_key=True, skip_locked=skip_locked)
