"""What the money of a payment is for, as `payments` asks it; and what of one entry's money goes back.

A stake that was paid is in a match, or waits for one, or its time is over without one: then it is due back, from that
very moment, whether or not anything of ours has looked at it since.
"""

from django.db.models import Q

from game import clock
from game.models import Entry
from game.rules.locks import lock_level, locked_player
from payments.models import Payment
from payments.uses import Use


def _played() -> Q:
    return Q(entry__session__isnull=False)


def _waiting() -> Q:
    return Q(entry__status=Entry.Status.OPEN, entry__expires_at__gt=clock.now())


def _over() -> Q:
    ended = Q(entry__status=Entry.Status.EXPIRED) | Q(entry__expires_at__lte=clock.now())
    return Q(entry__opened_at__isnull=False, entry__session=None) & ended


def _hold(payment: Payment) -> None:
    entry = Entry.objects.select_related("player").filter(payment=payment).first()
    if entry is not None:
        locked_player(entry.phone)
        lock_level(entry.stake_amount)


USE = Use(played=_played, waiting=_waiting, over=_over, hold=_hold)


def due_back(entry: Entry) -> bool:
    """Whether the money of this entry is to be given back: the same as the queries above say, of one entry at hand."""
    payment = entry.payment
    if payment.collected_at is None or payment.refunded_at is not None:
        return False
    if payment.contested and payment.status == Payment.Status.SUCCESS:
        return False  # the provider took it back itself, or says so
    unplayed = entry.opened_at is not None and entry.session_id is None and entry.state == Entry.Status.EXPIRED
    return payment.refund_due or unplayed


def concerns_its_player(entry: Entry) -> bool:
    """Whether there is anything yet to look at: it is on its way, or its money is due back."""
    return entry.is_live or due_back(entry)
