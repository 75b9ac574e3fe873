"""The use of a payment's money, for `payments`, and whether one entry's money is refund due.

A paid stake is in a match, waits for one, or is over without one. In the last case its money is refund due from that
moment, even if no process has looked at it since.
"""

from django.db.models import Q

from game import clock
from game.models import Entry
from game.rules.locks import lock_level, locked_player
from payments.models import Payment
from payments.states import Place
from payments.uses import Use


def _played() -> Q:
    return Q(entry__session__isnull=False)


def _over() -> Q:
    ended = Q(entry__status=Entry.Status.EXPIRED) | Q(entry__expires_at__lte=clock.now())
    return Q(entry__opened_at__isnull=False, entry__session=None) & ended


def _place_of(payment: Payment) -> Place:
    found = Entry.objects.filter(payment=payment).values_list("opened_at", "session").first()
    if found is None or found[0] is None:
        return Place.RECEIVED
    return Place.WAITING if found[1] is None else Place.IN_MATCH


def _hold(payment: Payment) -> Place:
    entry = Entry.objects.select_related("player").filter(payment=payment).first()
    if entry is not None:
        locked_player(entry.phone)
        lock_level(entry.stake_amount)
    return _place_of(payment)


def _leave(payment: Payment) -> None:
    """The provider took the money back: nobody may be matched with this entry."""
    Entry.objects.filter(payment=payment, status=Entry.Status.OPEN).update(
        status=Entry.Status.EXPIRED, reason="contested", ended_at=clock.now()
    )


USE = Use(place_of=_place_of, hold=_hold, leave=_leave, over=_over, played=_played)


def due_back(entry: Entry) -> bool:
    """Return True if the money of this entry is refund due: `refunds.due()` for one loaded entry."""
    payment = entry.payment
    if payment.place in ("refund_due", "refund_transit"):
        return True
    unplayed = entry.opened_at is not None and entry.session_id is None and entry.state == Entry.Status.EXPIRED
    if payment.place == "in_use":
        return unplayed
    # A row of the former release, which the worker adopts within a second.
    if payment.version or payment.collected_at is None or payment.refunded_at is not None:
        return False
    if payment.contested and payment.status == Payment.Status.SUCCESS:
        return False
    return payment.refund_due or unplayed


def concerns_its_player(entry: Entry) -> bool:
    """Return True if the entry is live or its money is refund due."""
    return entry.is_live or due_back(entry)
