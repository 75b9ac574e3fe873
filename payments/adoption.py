"""Adopt payments into the journal: add an event `adopted` with the state that a payment's columns show.

This is necessary for payments that the previous release wrote, or still writes during a rolling deploy, and after a
manual UPDATE. Such a payment has `version` 0, or `stale` is set.
"""

import logging
from dataclasses import replace

from django.db.models import Q

from payments import database, journal, uses
from payments.models import Callback, Payment, PayoutShare, Refund
from payments.rules.payment import balances
from payments.rules.payment import differences as postings_between
from payments.rules.states import Account, Event, Kind, Payout, Place, Request, State, Status, Word
from payments.statements import Select

logger = logging.getLogger("payments")

TO_ADOPT = Q(version=0) | Q(stale=True)
_BATCH = 500
_LOCKED = Select(lambda key: Payment.objects.select_for_update(no_key=True).filter(pk=key))
_PAYOUTS = {
    Refund.State.ORDERED: Payout.ORDERED,
    Refund.State.STARTED: Payout.SENDING,
    Refund.State.IN_DOUBT: Payout.AMBIGUOUS,
}
# Places of money that did not exist in the previous release, so that its columns cannot express them.
_NEW = (Place.PRIZE, Place.PRIZE_TRANSIT, Place.PRIZE_PAID, Place.LOST)


def locked(payment_id: int) -> Payment:
    """Return the payment, locked and adopted into the journal. Raises Payment.DoesNotExist."""
    payment = _LOCKED.first(key=payment_id)
    if payment is None:
        raise Payment.DoesNotExist
    ensure(payment)
    return payment


def ensure(payment: Payment) -> None:
    """Adopt a payment that the caller has locked into the journal, unless the journal already has it."""
    if payment.version == 0 or payment.stale:
        _adopt(payment)


def adopt() -> int:
    """Adopt some payments into the journal, each in its own transaction. Return the number of adopted payments.

    Payments that are locked by another transaction are left for a later call.
    """
    adopted = 0
    for key in list(Payment.objects.filter(TO_ADOPT).order_by("pk").values_list("pk", flat=True)[:_BATCH]):
        with journal.writing():
            payment = database.not_locked(Payment.objects.filter(TO_ADOPT, pk=key)).first()
            if payment is not None:
                _adopt(payment)
                adopted += 1
    return adopted


def left() -> int:
    """Return the number of payments that still have to be adopted into the journal."""
    return Payment.objects.filter(TO_ADOPT).count()


def _adopt(payment: Payment) -> None:
    state, note = _found(payment)
    held = journal.balances_of(payment) if payment.version else {}
    now = database.now()
    values = journal.columns(state)
    if state.place is not Place.NONE and payment.collected_at is None:
        values["collected_at"] = payment.settled_at or payment.created_at
        values["settled_by"] = payment.settled_by or "callback"
    if note and payment.provider:
        values["next_ask_at"] = now
    for name, value in values.items():
        setattr(payment, name, value)
    payment.stale = False
    payment.version += 1
    payment.save(update_fields=[*values, "stale", "version"])
    _share(payment)
    event = Event(Kind.ADOPTED, becomes=state)
    journal.record(payment, event, postings_between(held, balances(state)), now, journal.Cause(note=note))
    if state.place is Place.CONTESTED:
        uses.current().leave(payment)
    if state.place is Place.IN_MATCH:
        _book_opponent(payment)
    logger.info(
        "payments.adopted: payment %s was taken into the journal: %s %s",
        payment.pk,
        state.place.value or "no money",
        note,
        extra={"event": "payments.adopted", "payment": payment.pk},
    )


def _book_opponent(payment: Payment) -> None:
    """Book the match in the journal of the opponent's payment, if the former release made the match.

    The former release writes only the payment that completes a match, so nothing marks the other payment as stale.
    """
    found = uses.current().opponent(payment)
    if found is None:
        return
    opponent, key = found
    if journal.balances_of(opponent) == {Account.WAITING: opponent.amount}:
        uses.matched(opponent, key)


def _share(payment: Payment) -> None:
    """Add the missing shares to the payouts of this payment. The previous release did not write shares."""
    for refund in payment.refunds.filter(shares=None):
        is_open = refund.state not in (Refund.State.FAILED, Refund.State.RETURNED)
        PayoutShare.objects.create(payout=refund, payment=payment, amount=refund.amount, open=is_open)


def _found(payment: Payment) -> tuple[State, str]:
    """Return the state that a payment's columns and payouts show, and a sentence about any contradiction in them, or
    "".
    """
    cached = journal.state_of(payment, Place.NONE) if payment.place == "in_use" else journal.state_of(payment)
    refunds = list(payment.refunds.exclude(state__in=(Refund.State.FAILED, Refund.State.RETURNED)).order_by("pk"))
    open_payout = next((refund for refund in refunds if refund.state in _PAYOUTS), None)
    paid_out = any(refund.state == Refund.State.SUCCEEDED for refund in refunds)
    collected, note = payment.collected_at is not None, ""
    state = replace(
        cached, request=Request(payment.collection), status=Status(payment.status), place=Place.NONE, payout=Payout.NONE
    )
    if not collected and payment.status == Status.SUCCESS and _by_callback(payment):
        collected, note = True, "Paid by a callback, without a time of collection."
    if cached.place in _NEW and not (payment.contested or payment.refund_due):
        return cached, note
    if paid_out or payment.refunded_at is not None:
        if paid_out != (payment.refunded_at is not None):
            note = "The refund and the time of the refund contradict each other."
        if paid_out or not refunds:
            return replace(state, place=Place.REFUNDED, approved=False, word=Word.NONE, ordered_at=None), note or (
                "Refunded and contested." if payment.contested else ""
            )
    if open_payout is not None:
        payout, at = _PAYOUTS[Refund.State(open_payout.state)], open_payout.ordered_at
        return replace(state, place=Place.REFUND_TRANSIT, approved=False, payout=payout, ordered_at=at), note
    if not collected:
        return replace(state, place=Place.NONE), note
    state = replace(state, approved=False, ordered_at=None, back=Place.NONE)
    place = uses.current().place_of(payment)
    if payment.contested and payment.status == Status.SUCCESS:
        back = Place.IN_MATCH if place is Place.IN_MATCH else Place.REFUND_DUE
        return replace(state, place=Place.CONTESTED, word=Word.FAILED, back=back), note
    over = place is not Place.IN_MATCH and Payment.objects.filter(uses.current().over(), pk=payment.pk).exists()
    if payment.refund_due or payment.status == Status.FAILED or over:
        word = Word.SUCCESSFUL if payment.contested else cached.word
        return replace(state, place=Place.REFUND_DUE, word=word), note
    return replace(state, place=place), note


def _by_callback(payment: Payment) -> bool:
    return Callback.objects.filter(payment=payment, applied=True).exists()
