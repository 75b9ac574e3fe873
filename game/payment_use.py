"""The state of a payment's stake, for the `payments` app.

If a paid stake has found no match by its expiry time, its money is due for refund from that moment, even if the status
of the stake is not `expired` yet.
"""

from django.db.models import Q

from game import keys
from game.models import Entry
from game.rules.locks import lock_level, locked_player
from payments.models import Payment
from payments.rules.states import Place
from payments.signals import Use
from sms import clock


def _played() -> Q:
    return Q(entry__session__isnull=False)


def _over() -> Q:
    ended = Q(entry__status=Entry.Status.EXPIRED) | Q(entry__expires_at__lte=clock.now())
    return Q(entry__opened_at__isnull=False, entry__session=None) & ended


def _newly_over() -> Q:
    # `refund_told` is set only after the money was booked as due for refund.
    ended = Q(entry__status=Entry.Status.EXPIRED, entry__refund_told=False)
    late = Q(entry__status=Entry.Status.OPEN, entry__expires_at__lte=clock.now())
    return Q(entry__opened_at__isnull=False, entry__session=None) & (ended | late)


def _place_of(payment: Payment) -> Place:
    found = Entry.objects.filter(payment=payment).values_list("opened_at", "session").first()
    if found is None or found[0] is None:
        return Place.RECEIVED
    return Place.WAITING if found[1] is None else Place.IN_MATCH


def _hold(payment: Payment) -> Place:
    entry = Entry.objects.select_related("player").filter(payment=payment).first()
    if entry is not None:
        locked_player(entry.phone)
        # An ended entry cannot be matched. The caller may have locked it, and the stake level must be locked first.
        if entry.status != Entry.Status.EXPIRED:
            lock_level(entry.stake_amount)
    return _place_of(payment)


def _end_entry(payment: Payment) -> None:
    """End the entry of a payment that the provider has reversed, so that the entry cannot be matched."""
    waiting = Entry.objects.filter(payment=payment, status__in=(Entry.Status.OPEN, Entry.Status.AWAITING_PAYMENT))
    waiting.update(status=Entry.Status.EXPIRED, reason="contested", ended_at=clock.now())


def _opponent(payment: Payment) -> tuple[Payment, str] | None:
    entries = Entry.objects.filter(session__entries__payment=payment).exclude(payment=payment)
    entry = entries.select_related("payment").first()
    return None if entry is None else (entry.payment, keys.matched(entry.session_id))


USE = Use(
    place_of=_place_of,
    hold=_hold,
    end_entry=_end_entry,
    over=_over,
    newly_over=_newly_over,
    played=_played,
    opponent=_opponent,
)


def due_back(entry: Entry) -> bool:
    """Return True if the money of this entry is due for refund, or if its refund is being paid out."""
    payment = entry.payment
    if payment.place in ("refund_due", "refund_transit"):
        return True
    unplayed = entry.opened_at is not None and entry.session_id is None and entry.state == Entry.Status.EXPIRED
    if payment.place == "in_use":
        return unplayed
    # A payment from a release without a journal has `version` 0 until the worker adds it to the journal. Until then,
    # its `place` is not set.
    if payment.version or payment.collected_at is None or payment.refunded_at is not None:
        return False
    if payment.contested and payment.status == Payment.Status.SUCCESS:
        return False
    return payment.refund_due or unplayed
