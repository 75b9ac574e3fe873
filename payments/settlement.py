"""Settle payments: apply answers of the provider and decisions of operators."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from django.conf import settings
from django.db.models import Q

from payments import database, journal, matches, status_polling
from payments.journal import Cause
from payments.matches import Refused
from payments.models import Callback, Payment
from payments.providers import Answer, Said
from payments.rules.payment import UNKNOWN_WORD_AFTER
from payments.rules.states import Event, Kind, Word
from payments.statements import Select, update

Status = Payment.Status
_PAID_OUT = ("refunded", "prize_paid")
_WORDS = {Status.SUCCESS: Word.SUCCESSFUL, Status.FAILED: Word.FAILED}


# The payment of a callback, locked by the query that reads it. Its match has no result, which would be locked too.
_PENDING = Select(
    lambda transaction: Payment.objects.select_for_update(no_key=True).filter(
        transaction_id=transaction, status=Status.PENDING, place="", provider=""
    )
)
_BY_TRANSACTION = Select(lambda transaction: Payment.objects.filter(transaction_id=transaction))


def callback(
    callback: Callback, transaction: str, said: Payment.Status, check: Callable[[Payment | None], Payment]
) -> None:
    """Apply an authenticated callback that was stored.

    If we request the payment ourselves, the callback only triggers a poll. Otherwise its status is applied.

    `check`: returns the payment, or raises an exception if it is None or if the callback contradicts it.

    Raises OperationalError, which becomes a 503 response, if the entry could not be activated because of a lock
    timeout. The payment is settled nevertheless. A repeated callback or `game_worker` activates the entry later.
    """
    applied, cause = False, Cause("callback", callback=callback)
    with database.commit_follows():  # The update of the callback below waits for the disk.
        with journal.writing():
            payment = _PENDING.first(transaction=transaction)
            if payment is not None:
                check(payment)
                journal.ensure_adopted(payment)
                applied = _apply(payment, said, cause)
        if payment is None:
            payment = check(_BY_TRANSACTION.first(transaction=transaction))
            if payment.provider:
                status_polling.owe_answer(payment.pk, callback)
            else:
                payment, applied = _settle(payment.pk, said, cause)
    error = payment.use_error
    callback.payment, callback.status, callback.applied = payment, said, applied
    callback.answered = 503 if error else 200
    update(callback, ["payment", "status", "answered", "applied"])
    if error is not None:
        raise error


def _settle(payment_id: int, said: Payment.Status, cause: Cause) -> tuple[Payment, bool]:
    """Apply a status that the provider reported. Return the payment, and True if its status has changed."""
    with journal.writing():
        payment = matches.locked(payment_id).payment
        return payment, _apply(payment, said, cause)


def _apply(payment: Payment, said: Payment.Status, cause: Cause) -> bool:
    """Apply a status that the provider reported to a locked payment. Return True if its status has changed."""
    before = payment.status
    if said in _WORDS:
        matches.take_word(payment, _WORDS[said], began=database.now(), polled=cause.by == "asking", cause=cause)
    return payment.status != before


def judge(payment_id: int, kind: Kind, *, actor: str, note: str) -> Payment:
    """Apply an operator's decision to a payment. Raises Refused if the rules forbid it; the journal then records the
    refusal.
    """
    with journal.writing():
        payment = matches.locked(payment_id).payment
        event = Event(kind, actor=actor)
        cause = Cause("operator", actor, note, note)
        match = matches.of(payment)
        if match is not None:
            outcome = matches.on_share(match, payment, event, cause)
        else:
            outcome = journal.take(payment, event, cause)
        _raise_if_unused(payment)
    if outcome.refusal:
        raise Refused(outcome.refusal)
    return payment


def _raise_if_unused(payment: Payment) -> None:
    """If a lock timeout kept a receiver from using the money, raise its exception, so that the operator repeats."""
    if payment.use_error is not None:
        raise payment.use_error


class Confirmed(NamedTuple):
    """A poll that confirmed a payment. `known_by`: the provider's id that was polled; `began`: when the poll began."""

    answer: Answer
    known_by: str
    began: datetime


def look_up(payment: Payment, provider_id: str, *, actor: str, note: str) -> Confirmed | None:
    """Poll a payment that an operator wants to mark as paid. Raises Refused if the provider contradicts the
    operator.

    `provider_id`: the id that the operator read in the provider's portal, or "".

    Returns None if there is no id to poll, or if a poll by an id that we already had brought no clear answer. In these
    cases the operator's decision counts.
    """
    began = database.now()
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
        journal.record(locked, Event(Kind.SETTLED_PAID, actor=actor), (), database.now(), cause, denial)
    raise Refused(denial)


def _denial(payment: Payment, answer: Answer | None, *, typed: bool) -> str:
    """Return a sentence if the provider's answer contradicts that the payment was paid, otherwise ""."""
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
    """Settle a payment as paid. Raises Refused.

    `confirmed`: the result of `look_up`. If it is None, the payment is settled by the operator's decision alone.
    """
    if confirmed is None:
        return judge(payment_id, Kind.SETTLED_PAID, actor=actor, note=note)
    with journal.writing():
        payment = matches.locked(payment_id).payment
        if payment.status == Status.SUCCESS:
            raise Refused("It has a status.")
        payment.provider_id = confirmed.known_by
        cause = Cause("operator", actor, note, note, answer=confirmed.answer)
        matches.take_word(
            payment, Word.SUCCESSFUL, began=confirmed.began, polled=True, cause=cause, also=("provider_id",)
        )
        _raise_if_unused(payment)
    if payment.status != Status.SUCCESS:
        raise Refused("The provider's answer is recorded, but in the meantime the provider gave another one.")
    return payment


def single_operator() -> bool:
    """Return True if the same operator may settle a payment and pay it out. By default a second operator must pay it
    out.
    """
    return bool(settings.PAYMENTS_SINGLE_OPERATOR)


def unknown_words() -> Q:
    """Return a condition for payments whose unknown status word needs a decision by an operator.

    Either the payment has no final status and has had such a word for an hour, or it got such a word after its money
    was paid out.
    """
    hour_ago = database.now() - UNKNOWN_WORD_AFTER
    pending = Q(other_since__lte=hour_ago, status=Status.PENDING)
    return pending | Q(other_since__isnull=False, place__in=_PAID_OUT, settled_by_name="")


def has_unknown_word(payment: Payment) -> bool:
    """Return True if this payment meets the condition of `unknown_words`."""
    if payment.other_since is None:
        return False
    if payment.status == Status.PENDING:
        return database.now() - payment.other_since >= UNKNOWN_WORD_AFTER
    return payment.place in _PAID_OUT and not payment.settled_by_name
