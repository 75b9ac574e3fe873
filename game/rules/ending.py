"""End stakes that were cancelled, replaced, never paid, or expired without an opponent, and announce their refunds."""

from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet

from game.models import Entry
from game.rules.locks import locked_player
from game.signals import refund_became_due
from payments import collection, journal, services
from payments.database import not_locked
from payments.models import Payment
from sms import clock

# An unpaid stake ends after this time. A later payment can still activate the stake.
UNPAID_LIFE = timedelta(days=1)
# If a stake expired longer ago than this, no `refund_due` message is queued.
_ANNOUNCE_FOR = timedelta(days=2)
_AT_ONCE = 500


def end(entries: Sequence[Entry], reason: str) -> None:
    """End these entries of one player. The caller has locked the player."""
    now = clock.now()
    for entry in entries:
        entry.status, entry.reason, entry.ended_at = Entry.Status.EXPIRED, reason, now
    if entries:
        Entry.objects.filter(pk__in=[entry.pk for entry in entries]).update(
            status=Entry.Status.EXPIRED, reason=reason, ended_at=now
        )


def end_expired(entries: Sequence[Entry]) -> Sequence[Entry]:
    """End the active entries that have expired, and return all `entries`.

    The caller has locked the player.
    """
    now = clock.now()
    expired = [
        entry
        for entry in entries
        if entry.status == Entry.Status.OPEN and entry.expires_at is not None and entry.expires_at <= now
    ]
    if expired:
        # The refund is booked later, by `announce_refunds`. Here the player is locked already, and payments must be
        # locked before the player.
        end(expired, "timed_out")
    return entries


def give_up(entry: Entry, reason: str) -> None:
    """End an entry that is waiting for its payment."""
    _write_end(Entry.objects.filter(pk=entry.pk, status=Entry.Status.AWAITING_PAYMENT), reason)


def cancel(entry: Entry) -> bool:
    """Cancel an entry. Return False if it is already matched or has ended.

    No lock of the stake level is needed, because matching locks the entry too.
    """
    with journal.writing():
        payment = journal.locked(entry.payment_id)
        locked_player(entry.player.phone)
        mine = Entry.objects.filter(pk=entry.pk)
        # "left" is part of the API, so this name of the reason must not change.
        cancelled = _write_end(mine.filter(status__in=(Entry.Status.OPEN, Entry.Status.AWAITING_PAYMENT)), "left")
        if cancelled:
            collection.withdraw(payment)
            _announce(mine.select_related("player", "session").get(), payment)
    return bool(cancelled)


def expire_old() -> int:
    """End up to 500 active entries that have expired. Return the number of ended entries."""
    return _end_free(Entry.objects.filter(status=Entry.Status.OPEN, expires_at__lte=clock.now()), "timed_out")


def give_up_unpaid() -> int:
    """End up to 500 entries that were not paid within a day. Return the number of ended entries."""
    unpaid = Entry.objects.filter(
        status=Entry.Status.AWAITING_PAYMENT,
        created_at__lte=clock.now() - UNPAID_LIFE,
        payment__status=Payment.Status.PENDING,
    )
    return _end_free(unpaid, "not_paid")


def _end_free(entries: "QuerySet[Entry]", reason: str) -> int:
    """End these entries, except those that another transaction has locked. A later run ends the locked ones.

    Waiting for locked rows could cause a deadlock.
    """
    with transaction.atomic():
        keys = [entry.pk for entry in not_locked(entries).only("pk")[:_AT_ONCE]]
        return _write_end(Entry.objects.filter(pk__in=keys), reason) if keys else 0


def _write_end(entries: "QuerySet[Entry]", reason: str) -> int:
    return entries.update(status=Entry.Status.EXPIRED, reason=reason, ended_at=clock.now())


def announce_refunds() -> tuple[int, int]:
    """Announce the refunds of up to 500 entries that ended without a match.

    Return the number of announced refunds, and the number of failed ones, which are retried later.
    """
    over = Entry.objects.filter(
        status=Entry.Status.EXPIRED,
        opened_at__isnull=False,
        session=None,
        refund_told=False,
        expires_at__gt=clock.now() - _ANNOUNCE_FOR,
    )
    # After an entry ends without a match, the `place` of its money is "in_use" until the refund is booked as due.
    keys = (
        over.filter(payment__place__in=("in_use", "refund_due"))
        # Sort by `expires_at` first, like the index `entry_untold`. With "pk" alone, PostgreSQL may read all rows.
        .order_by("expires_at", "pk")
        .values_list("pk", "payment_id")[:_AT_ONCE]
    )
    done = failed = 0
    for key, payment_id in list(keys):
        with journal.writing():
            payment = not_locked(Payment.objects.filter(pk=payment_id)).first()
            entry = over.select_related("player", "session").filter(pk=key).first() if payment is not None else None
            if payment is None or entry is None:
                continue
            journal.ensure_adopted(payment)
            announced = _announce(entry, payment)
            done, failed = done + announced, failed + (not announced)
    return done, failed


def _announce(entry: Entry, payment: Payment) -> bool:
    """Mark the money of an ended entry as due for refund and send `refund_became_due`.

    The caller has locked the payment. Return False if a receiver failed.
    """
    if payment.collected_at is None:
        return True
    if payment.place == "in_use":
        # If the entry was never active (no `opened_at`), its money is booked as held, otherwise as unused.
        (services.held if entry.opened_at is None else services.unused)(payment)
    if payment.place != "refund_due":
        return True
    entry.payment = payment
    responses = refund_became_due.send_robust(Entry, entry=entry)
    journal.raise_if_lost(responses)
    if any(isinstance(response, Exception) for _receiver, response in responses):
        return False
    Entry.objects.filter(pk=entry.pk).update(refund_told=True)
    return True
