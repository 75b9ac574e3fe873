"""The provider's word and the operators' judgments: who may settle a payment, and by which event of the rule."""

import logging
from datetime import datetime
from typing import NamedTuple

from django.conf import settings

from payments import clock, journal, matches, uses
from payments.journal import Cause
from payments.matches import Refused
from payments.models import Callback, Payment
from payments.providers import Answer, Said
from payments.statements import update
from payments.states import Event, Kind, Outcome, Place, Word

logger = logging.getLogger("payments")

Status = Payment.Status
_WORDS = {Status.SUCCESS: Word.SUCCESSFUL, Status.FAILED: Word.FAILED}


def settle(payment_id: int, said: Payment.Status, *, by: str, reason: str = "") -> Payment:
    """Take a complete word of the provider, which is true as of now. PENDING changes nothing.

    `by`: callback, asking or answer. Returns the payment as it is then.
    """
    payment, _moved = _settle(payment_id, said, Cause(by, reason=reason))
    return payment


def _settle(payment_id: int, said: Payment.Status, cause: Cause, seen: Payment | None = None) -> tuple[Payment, bool]:
    """The payment, and whether this word moved its status. `seen`: the payment as just read."""
    with journal.writing():
        payment = matches.locked(payment_id, seen).payment
        before = payment.status
        if said in _WORDS:
            take_word(payment, _WORDS[said], began=clock.now(), polled=cause.by == "asking", cause=cause)
        return payment, payment.status != before


def take_word(
    payment: Payment,
    word: Word,
    *,
    began: datetime,
    polled: bool,
    cause: Cause,
    also: tuple[str, ...] = (),
) -> Outcome:
    """Apply the provider's word to a locked payment (`matches.locked`). `began`: when the poll began."""
    place = Place.NONE
    if payment.status == Status.SUCCESS and payment.collected_at is None and word is Word.SUCCESSFUL:
        # The payment was counted as paid without any money, and now the money has arrived.
        place = uses.current().hold(payment)
    event = Event(Kind.WORD, said=word, began=began, polled=polled, place=place)
    match = matches.of(payment)
    if match is not None:
        return matches.on_share(match, payment, event, cause, also)
    return journal.take(payment, event, cause, also=also)


def callback(callback: Callback, payment: Payment, said: Payment.Status) -> None:
    """Take an authenticated callback, which is stored, and whose amount and phone are the payment's.

    A payment that we collect is polled instead: the callback moves nothing. Otherwise it is the provider's word.

    Raises OperationalError, which is answered with 503, if a lock could not be had in time to settle the use of the
    money. The payment is settled all the same; a repeated callback or `game_worker` settles its use.
    """
    from payments import status_polling

    applied, error = False, None
    if payment.provider:
        status_polling.owe_answer(payment.pk, callback)
    else:
        settled, applied = _settle(payment.pk, said, Cause("callback", callback=callback), payment)
        error = settled.use_error
    callback.payment, callback.status, callback.applied = payment, said, applied
    callback.answered = 503 if error else 200
    update(callback, ["payment", "status", "answered", "applied"])
    if error is not None:
        raise error


def notified(payment_id: int, callback: Callback | None, notifications: int) -> None:
    """Take DMarkPay's notification, which proves nothing: an answer to a poll is owed from now on.

    `callback`: as stored; None if it was not. `notifications`: how many of this payment have arrived so far.
    """
    from payments import status_polling

    status_polling.owe_answer(payment_id, callback, notifications)


# --- operators


def judge(payment_id: int, kind: Kind, *, actor: str, note: str) -> Payment:
    """Carry out an operator's judgment on one payment. Raises Refused; then the refusal alone is journaled."""
    with journal.writing():
        payment = matches.locked(payment_id).payment
        event = Event(kind, actor=actor)
        cause = Cause("operator", actor, note, note)
        match = matches.of(payment)
        if match is not None:
            outcome = matches.on_share(match, payment, event, cause)
        else:
            outcome = journal.take(payment, event, cause)
    if outcome.refusal:
        raise Refused(outcome.refusal)
    return payment


class Confirmed(NamedTuple):
    """A poll in which the provider confirmed a payment. `known_by`: the provider's id; `began`: when the poll began."""

    answer: Answer
    known_by: str
    began: datetime


def look_up(payment: Payment, provider_id: str, *, actor: str, note: str) -> Confirmed | None:
    """Poll a payment that an operator wants to mark as paid. Raises Refused if the provider denies it.

    `provider_id`: as the operator read it in the provider's portal, or "". Returns None if there is no id to poll by,
    or no clear answer to a poll by an id that we had before: then the operator's word counts.
    """
    from payments import status_polling

    began = clock.now()
    answer, known_by = status_polling.look_up(payment, provider_id)
    if answer is None and not provider_id:
        return None
    if answer is not None and answer.said is Said.SUCCESS and status_polling.is_ours(payment, answer, known_by):
        return Confirmed(answer, known_by, began)
    denial = _denial(payment, answer, typed=bool(provider_id))
    if not denial:
        return None
    with journal.writing():
        locked = matches.locked(payment.pk).payment
        cause = Cause("operator", actor, note, answer=answer)
        journal.record(locked, Event(Kind.SETTLED_PAID, actor=actor), (), clock.now(), cause, denial)
    raise Refused(denial)


def _denial(payment: Payment, answer: Answer | None, *, typed: bool) -> str:
    """Return how the provider contradicts that it was paid, in a sentence; "" if it does not."""
    if answer is None:
        return "No provider that is set up can check this ID."
    if answer.ours not in ("", payment.transaction_id):
        return "The provider says that this ID belongs to another transaction."
    if answer.said is Said.UNKNOWN:
        return "The provider knows no transaction with this ID."
    if answer.said is Said.FAILED:
        return "The provider says that this payment failed."
    if answer.said is Said.PENDING:
        return "The provider says that this payment is still pending."
    if not typed:
        return ""
    if answer.said is Said.SUCCESS:
        return "The provider's answer about this ID does not name our transaction."
    return "The ID could not be checked, because the provider gave no clear answer. Try again, or leave the ID empty."


def mark_paid(payment_id: int, confirmed: Confirmed | None, *, actor: str, note: str) -> Payment:
    """Settle a payment as paid: by the provider's word if a poll confirmed it, else by the operator's.

    `confirmed`: the result of `look_up`. Raises Refused.
    """
    if confirmed is None:
        return judge(payment_id, Kind.SETTLED_PAID, actor=actor, note=note)
    with journal.writing():
        payment = matches.locked(payment_id).payment
        if payment.status != Status.PENDING:
            raise Refused("It has a status.")
        payment.provider_id = confirmed.known_by
        cause = Cause("operator", actor, note, note, answer=confirmed.answer)
        take_word(payment, Word.SUCCESSFUL, began=confirmed.began, polled=True, cause=cause, also=("provider_id",))
    return payment


def single_operator() -> bool:
    """Return whether one operator may settle a payment and pay it out. By default a second one must pay out."""
    return bool(settings.PAYMENTS_SINGLE_OPERATOR)
