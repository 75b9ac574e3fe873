"""Apply events to a locked payment, and save the payment's row, the journal and the ledger together."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import OperationalError, connection, transaction
from django.db.models import Q
from django.dispatch import Signal

from payments import database, statements
from payments.database import sqlstate
from payments.models import Callback, LedgerEntry, Payment, PaymentEvent, PayoutShare, Refund
from payments.providers import Answer
from payments.rules.payment import IN_USE, apply, balances, differences, is_contested
from payments.rules.states import (
    ASSETS,
    Account,
    Effect,
    Event,
    Kind,
    Outcome,
    Payout,
    Place,
    Posting,
    Request,
    State,
    Status,
    Word,
    facts_of,
)
from payments.signals import current_use, momo_status_changed, momo_success_repeated, payment_contested, payment_lost

logger = logging.getLogger("payments")

_IN_USE = "in_use"
# All accounts except OPENING and those in ASSETS: the accounts of money that we owe, and COMMISSION.
_OWED = [account for account in Account if account not in (*ASSETS, Account.OPENING)]
# SQLSTATEs of PostgreSQL: lock timeout, statement timeout, deadlock.
_TIMED_OUT = ("55P03", "57014", "40P01")
# Pause before the next poll, if the answer to a poll makes another poll necessary.
_AFTER_A_POLL = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Cause:
    """The source of an event. `by`: one of the sources listed at `Payment.settled_by`, or ""."""

    by: str = ""
    actor: str = ""
    note: str = ""
    reason: str = ""
    callback: Callback | None = None
    payout: Refund | None = None
    answer: Answer | None = None
    key: str = ""


NO_CAUSE = Cause()


@contextmanager
def writing(*, savepoint: bool = True) -> Iterator[None]:
    """Open an atomic block. Its journal and ledger rows are inserted at the end of the outermost block.

    `savepoint`: pass False if an error in this block ends the outer block anyway.
    """
    with transaction.atomic(savepoint=savepoint):
        held: list[tuple[PaymentEvent, tuple[LedgerEntry, ...]]] | None = getattr(connection, "_journal", None)
        outermost = held is None
        if held is None:
            held = []
            connection._journal = held  # type: ignore[attr-defined]
        start = len(held)
        try:
            yield
            if outermost:
                _insert(held)
        except BaseException:
            del held[start:]
            raise
        finally:
            if outermost:
                connection._journal = None  # type: ignore[attr-defined]


def _insert(held: list[tuple[PaymentEvent, tuple[LedgerEntry, ...]]]) -> None:
    if not held:
        return
    statements.insert([event for event, _ in held])
    postings = []
    for event, entries in held:
        for entry in entries:
            entry.event = event
            postings.append(entry)
    if postings:
        statements.insert(postings)


def record(
    payment: Payment, event: Event, postings: tuple[Posting, ...], now: datetime, cause: Cause, refused: str = ""
) -> None:
    """Add an event and its postings to the journal and the ledger."""
    answer = cause.answer
    written = statements.new(
        PaymentEvent,
        payment=payment,
        at=now,
        kind=event.kind.value,
        said=event.said.value,
        actor=(cause.actor or event.actor)[:150],
        note=cause.note[:300],
        refused=refused[:200],
        callback=cause.callback,
        payout=cause.payout,
        http_status=answer.http_status if answer else None,
        answer=answer.text if answer else "",
        ms=answer.ms if answer else 0,
        facts=facts_of(event),
        key=cause.key,
    )
    entries = tuple(
        statements.new(
            LedgerEntry,
            at=now,
            hour=now.replace(minute=0, second=0, microsecond=0),
            payment=payment,
            debit=posting.debit.value,
            credit=posting.credit.value,
            amount=posting.amount,
        )
        for posting in postings
    )
    held = getattr(connection, "_journal", None)
    if held is None:
        _insert([(written, entries)])
    else:
        held.append((written, entries))


def note_poll(payment: Payment, cause: Cause) -> None:
    """Record in the journal a poll that settled nothing, unless the journal's last poll had the same answer."""
    answer = cause.answer
    if answer is None:
        return
    kinds = (Kind.POLLED.value, Kind.WORD.value)
    last = PaymentEvent.objects.filter(payment=payment, kind__in=kinds).order_by("-pk").first()
    if last is None or (last.http_status, last.answer, last.note) != (
        answer.http_status,
        answer.text,
        cause.note[:300],
    ):
        record(payment, Event(Kind.POLLED), (), database.now(), cause)


def state_of(payment: Payment, place: Place | None = None) -> State:
    """Return the state that is cached in a payment's row.

    `place`: the place of the money, for a row that says only `in_use`. By default, `Use.place_of` finds it.
    """
    if payment.place != _IN_USE:
        place = Place(payment.place)
    elif place is None:
        place = current_use().place_of(payment)
    return State(
        amount=payment.amount,
        fee=payment.fee,
        ours=bool(payment.provider),
        approved=payment.status == Payment.Status.SUCCESS and payment.collected_at is None,
        request=Request(payment.collection),
        status=Status(payment.status),
        word=Word(payment.word),
        word_at=payment.word_at,
        other_since=payment.other_since,
        ok_at=payment.ok_at,
        owed_since=payment.answer_owed_since,
        place=place,
        back=Place(payment.back),
        payout=Payout(payment.payout),
        ordered_at=payment.payout_ordered_at,
        settled_by=payment.settled_by_name,
        house_share=payment.house_share,
    )


def columns(state: State) -> dict[str, Any]:
    """Return the values of the payment's columns that cache this state, keyed by column name."""
    return {
        "status": state.status.value,
        "collection": state.request.value,
        "word": state.word.value,
        "word_at": state.word_at,
        "other_since": state.other_since,
        "ok_at": state.ok_at,
        "answer_owed_since": state.owed_since,
        "place": _IN_USE if state.place in IN_USE else state.place.value,
        "back": state.back.value,
        "payout": state.payout.value,
        "payout_ordered_at": state.ordered_at,
        "settled_by_name": state.settled_by,
        "house_share": state.house_share,
        "refund_due": state.place in (Place.REFUND_DUE, Place.REFUND_TRANSIT),
        "contested": is_contested(state),
    }


def take(
    payment: Payment, event: Event, cause: Cause = NO_CAUSE, *, place: Place | None = None, also: tuple[str, ...] = ()
) -> Outcome:
    """Apply an event to a payment that the caller has locked with `locked`.

    `place`: the place of the money, if the caller has locked the app's rows that determine it. By default, `Use.hold`
    locks these rows if necessary. `also`: names of other changed columns to save.
    """
    if payment.place == _IN_USE and place is None:
        harmless = event.kind in (Kind.WORD, Kind.NOTIFIED) and event.said in (Word.SUCCESSFUL, Word.NONE)
        place = Place.RECEIVED
        if not harmless:
            place = current_use().hold(payment)
            adopt_use(payment, place)
    before, now = state_of(payment, place), database.now()
    outcome = apply(before, event, now)
    commit(payment, event, before, outcome, now, cause, also)
    return outcome


def commit(
    payment: Payment,
    event: Event,
    before: State,
    outcome: Outcome,
    now: datetime,
    cause: Cause,
    also: tuple[str, ...] = (),
) -> None:
    """Save the outcome of the rules (payment row, journal, ledger), and carry out the effects."""
    state = outcome.state
    changed = _write_row(payment, before, outcome, now, cause, also)
    if outcome.refusal:
        if cause.actor or cause.callback is not None or cause.answer is not None:
            record(payment, event, (), now, cause, outcome.refusal)
        return
    if event.kind is Kind.WORD and state is before:
        # A later answer was applied before this one. Record this one as POLLED, which a replay ignores.
        event = replace(event, kind=Kind.POLLED)
    silent = {"word_at", "ok_at", "version"} if state.payout is Payout.NONE else {"version"}
    if event.kind is not Kind.WORD or outcome.postings or changed - silent - set(also):
        record(payment, event, outcome.postings, now, cause)
    _carry_out(payment, outcome.effects)


def matched(payment: Payment, key: str) -> None:
    """Add the event "matched" to a payment's journal.

    The payment's row does not change, so the payment need not be locked.
    """
    event, now = Event(Kind.MATCHED), database.now()
    outcome = apply(state_of(payment, Place.WAITING), event, now)
    if not outcome.refusal:
        record(payment, event, outcome.postings, now, Cause(key=key))


def _write_row(
    payment: Payment, before: State, outcome: Outcome, now: datetime, cause: Cause, also: tuple[str, ...]
) -> set[str]:
    """Save the columns that have changed. Return their names."""
    state = outcome.state
    values = columns(state)
    if state.status is not before.status:
        values |= {"settled_at": now, "settled_by": cause.by, "reason": cause.reason[:200], "start_at": None}
    if payment.collected_at is None and any(posting.debit is Account.PROVIDER for posting in outcome.postings):
        values["collected_at"] = now
    if state.place is Place.REFUNDED and before.place is not Place.REFUNDED:
        values["refunded_at"] = now
    elif before.place is Place.REFUNDED and state.place not in (Place.REFUNDED, Place.LOST):
        values["refunded_at"] = None
    if values["contested"] and not is_contested(before):
        values["contested_at"] = now
    if any(effect.name == "poll" for effect in outcome.effects) and payment.provider:
        at = now + _AFTER_A_POLL if cause.by == "asking" else now
        values["next_ask_at"] = min(payment.next_ask_at or at, at)
    changed = {name for name, value in values.items() if getattr(payment, name) != value}
    for name in changed:
        setattr(payment, name, values[name])
    if changed or also:
        payment.version += 1
        statements.update(payment, sorted({*changed, *also, "version"}))
    return changed


def _carry_out(payment: Payment, effects: tuple[Effect, ...]) -> None:
    """Carry out the effects that belong to the transaction: send signals, log, end entries, cancel payouts."""
    for effect in effects:
        if effect.name == "settled":
            payment.use_error = _send(momo_status_changed, payment, previous_status=effect.detail)
            # If a database timeout or deadlock kept a receiver from handling a failed payment, roll back. The work is
            # repeated later.
            if payment.use_error is not None and payment.status == Status.FAILED.value:
                raise payment.use_error
        elif effect.name == "repeated" and payment.settled_by:
            payment.use_error = _send_repeated(payment)
        elif effect.name == "contested":
            logger.warning(
                "payments.contested: payment %s is contested: it was %s, and the provider now says %s.",
                payment.pk,
                payment.status,
                "SUCCESS" if effect.detail == Status.SUCCESS.value else payment.word.upper(),
                extra={"event": "payments.contested", "payment": payment.pk},
            )
            _send_contested(payment, effect.detail)
        elif effect.name == "contested_again":
            _send_contested(payment, effect.detail)
        elif effect.name == "leave_queue":
            current_use().end_entry(payment)
        elif effect.name == "lost":
            logger.error(
                "payments.lost: payment %s was paid out and then taken back by the provider: %s UGX are lost.",
                payment.pk,
                f"{payment.amount:,}",
                extra={"event": "payments.lost", "payment": payment.pk},
            )
            payment_lost.send_robust(Payment, payment=payment)
        elif effect.name == "alarm":
            logger.error(
                "payments.refunded_twice: payment %s was paid out twice: a payout marked as not paid out was made.",
                payment.pk,
                extra={"event": "payments.refunded_twice", "payment": payment.pk},
            )
        elif effect.name == "cancel_payout":
            _cancel_payout(payment)


def _send(signal: Signal, payment: Payment, **arguments: str) -> OperationalError | None:
    """Send a signal. Return the first lock timeout, statement timeout or deadlock of a receiver, or None.

    If a receiver fails for any reason, the payment is marked for `tell_again`.
    """
    answers = signal.send_robust(Payment, payment=payment, **arguments)
    error = _timed_out(answers)
    note_signal(payment, failed=any(isinstance(answer, Exception) for _receiver, answer in answers))
    return error


def _send_repeated(payment: Payment) -> OperationalError | None:
    """Send `momo_success_repeated`, see `_send`.

    If the signal before it failed, a release without a journal may have activated or matched the entry meanwhile.
    """
    if payment.signal_due_since is not None and payment.place == _IN_USE:
        adopt_use(payment, current_use().place_of(payment))
    return _send(momo_success_repeated, payment)


def _send_contested(payment: Payment, said: str) -> None:
    if error := _send(payment_contested, payment, said=said):
        raise error


def note_signal(payment: Payment, *, failed: bool) -> None:
    """Mark a locked payment if a receiver of its last signal failed, otherwise remove the mark."""
    since = (payment.signal_due_since or database.now()) if failed else None
    if since != payment.signal_due_since:
        payment.signal_due_since = since
        statements.update(payment, ["signal_due_since"])


def tell_again(payment: Payment) -> bool:
    """Send the signal about the current status of a locked payment again. Return False if a receiver fails again."""
    ensure_adopted(payment)
    if payment.contested:
        is_gone = payment.place == Place.CONTESTED.value
        _send(payment_contested, payment, said=Status.FAILED.value if is_gone else Status.SUCCESS.value)
    elif payment.status == Payment.Status.SUCCESS:
        _send_repeated(payment)
    else:
        _send(momo_status_changed, payment, previous_status=Status.PENDING.value)
    return payment.signal_due_since is None


def _timed_out(answers: list[tuple[Any, Any]]) -> OperationalError | None:
    """Return the first lock timeout, statement timeout or deadlock among the results of `send_robust`, or None."""
    raise_if_lost(answers)
    errors = (answer for _receiver, answer in answers if isinstance(answer, OperationalError))
    return next((error for error in errors if sqlstate(error) in _TIMED_OUT), None)


def raise_if_lost(answers: list[tuple[Any, Any]]) -> None:
    """If the transaction cannot continue, re-raise one of the exceptions that `send_robust` returned.

    A lost connection takes precedence over another receiver's bug, so that the response is 503.
    """
    if connection.needs_rollback:
        errors = [answer for _receiver, answer in answers if isinstance(answer, Exception)]
        if errors:
            raise next((error for error in errors if isinstance(error, OperationalError)), errors[0])


def raise_if_timed_out(answers: list[tuple[Any, Any]]) -> None:
    """Re-raise the first lock timeout, statement timeout or deadlock in the result of `send_robust`, if there is one.

    If the error were ignored, the transaction would commit, and the receiver's message would be lost.
    """
    if error := _timed_out(answers):
        raise error


def _cancel_payout(payment: Payment) -> None:
    """If this payment has an ordered payout that was not sent yet, cancel the payout."""
    for share in PayoutShare.objects.filter(payment=payment, open=True, payout__state=Refund.State.ORDERED):
        Refund.objects.filter(pk=share.payout_id).update(
            state=Refund.State.FAILED, start_at=None, ended_at=database.now(), reason="The order was taken back."
        )
        PayoutShare.objects.filter(payout_id=share.payout_id).update(open=False)


def balances_of(payment: Payment) -> dict[Account, int]:
    """Return a payment's balances on COMMISSION and on the accounts of money that we owe. Zeros are left out."""
    return balances_of_all([payment.pk])[payment.pk]


def balances_of_all(ids: Iterable[int]) -> dict[int, dict[Account, int]]:
    """Return the balances (see `balances_of`) of several payments, keyed by payment id. Makes one query.

    Ledger entries that the current transaction has not inserted yet are included.
    """
    signed: dict[int, Counter[str]] = {key: Counter() for key in ids}
    columns = ("payment_id", "debit", "credit", "amount")
    rows = list(LedgerEntry.objects.filter(payment__in=list(signed)).order_by().values_list(*columns))
    held = getattr(connection, "_journal", None) or []
    rows += [(entry.payment_id, entry.debit, entry.credit, entry.amount) for _, entries in held for entry in entries]
    for key, debit, credit, amount in rows:
        if key in signed:
            signed[key][debit] -= amount
            signed[key][credit] += amount
    return {
        key: {account: found[account.value] for account in _OWED if found[account.value]}
        for key, found in signed.items()
    }


# Adoption copies the state in a payment's columns to the payment's journal. It is needed for payments from a release
# without a journal (`version` is 0), and after a manual UPDATE (`stale` is set).

TO_ADOPT = Q(version=0) | Q(stale=True)
_BATCH = 500
_LOCKED = statements.Select(lambda key: Payment.objects.select_for_update(no_key=True).filter(pk=key))
_PAYOUTS = {
    Refund.State.ORDERED: Payout.ORDERED,
    Refund.State.STARTED: Payout.SENDING,
    Refund.State.IN_DOUBT: Payout.AMBIGUOUS,
}
# States of the money (`Payment.place`) for which releases without a journal have no columns.
_NEW = (Place.PRIZE, Place.PRIZE_TRANSIT, Place.PRIZE_PAID, Place.LOST)


def locked(payment_id: int) -> Payment:
    """Return the locked payment, after adding it to the journal if necessary. Raises Payment.DoesNotExist."""
    payment = _LOCKED.first(key=payment_id)
    if payment is None:
        raise Payment.DoesNotExist
    ensure_adopted(payment)
    return payment


def ensure_adopted(payment: Payment) -> bool:
    """Adopt a locked payment (add its state to the journal). Return False if the journal already has its state."""
    if payment.version and not payment.stale:
        return False
    _adopt(payment)
    return True


def adopt() -> int:
    """Add the state of up to 500 payments to the journal, if it is missing there or outdated. Return their number.

    A payment is adopted together with the other payment of its match. The two count as one. If another transaction has
    locked one of them, a later run adopts both.
    """
    adopted = 0
    for key in list(Payment.objects.filter(TO_ADOPT).order_by("pk").values_list("pk", flat=True)[:_BATCH]):
        with or_later(), writing():
            opponent = current_use().opponent(Payment(pk=key))
            keys = {key, opponent[0].pk} if opponent else {key}
            payments = {one.pk: one for one in database.not_locked(Payment.objects.filter(pk__in=keys))}
            if len(payments) == len(keys):
                adopted += ensure_adopted(payments[key])
    return adopted


@contextmanager
def or_later() -> Iterator[None]:
    """Ignore a lock timeout, statement timeout or deadlock, so that it does not stop the work on other payments.

    The block contains one transaction. A later run repeats it.
    """
    try:
        yield
    except OperationalError as error:
        if sqlstate(error) not in _TIMED_OUT:
            raise
        logger.warning(
            "payments.later: %s: the work on one payment is repeated later",
            sqlstate(error),
            extra={"event": "payments.later"},
        )


def left_to_adopt() -> int:
    """Return the number of payments that are not in the journal yet, or whose state was changed without the journal."""
    return Payment.objects.filter(TO_ADOPT).count()


def _adopt(payment: Payment) -> None:
    state, note = _found(payment)
    held = balances_of(payment) if payment.version else {}
    now = database.now()
    values = columns(state)
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
    record(payment, event, differences(held, balances(state)), now, Cause(note=note))
    if state.place is Place.CONTESTED:
        current_use().end_entry(payment)
    if found := current_use().opponent(payment):
        # If the other payment has the lower id, this very rarely causes a deadlock.
        opponent = locked(found[0].pk)
        if opponent.place == _IN_USE:
            adopt_use(opponent, Place.IN_MATCH)
    logger.info(
        "payments.adopted: payment %s was taken into the journal: %s %s",
        payment.pk,
        state.place.value or "no money",
        note,
        extra={"event": "payments.adopted", "payment": payment.pk},
    )


def adopt_use(payment: Payment, place: Place) -> None:
    """If a release without a journal activated or matched the entry of a locked payment, adopt the payment again.

    Such a release does not change the payment, so it is not `stale`. `place`: the place of the money in use.
    """
    if balances_of(payment) != {Account(place.value): payment.amount}:
        _adopt(payment)


def _share(payment: Payment) -> None:
    """Add the missing shares to the payouts of this payment. Releases without a journal wrote no shares."""
    for refund in payment.refunds.filter(shares=None):
        is_open = refund.state not in (Refund.State.FAILED, Refund.State.RETURNED)
        PayoutShare.objects.create(payout=refund, payment=payment, amount=refund.amount, open=is_open)


def _found(payment: Payment) -> tuple[State, str]:
    """Return the state that a payment's columns and payouts show.

    The second value is a sentence about a contradiction in them, or "".
    """
    cached = state_of(payment, Place.NONE) if payment.place == "in_use" else state_of(payment)
    refunds = list(payment.refunds.exclude(state__in=(Refund.State.FAILED, Refund.State.RETURNED)).order_by("pk"))
    open_payout = next((refund for refund in refunds if refund.state in _PAYOUTS), None)
    paid_out = any(refund.state == Refund.State.SUCCEEDED for refund in refunds)
    collected, note = payment.collected_at is not None, ""
    state = cached._replace(
        request=Request(payment.collection), status=Status(payment.status), place=Place.NONE, payout=Payout.NONE
    )
    if not collected and payment.status == Status.SUCCESS and _by_callback(payment):
        collected, note = True, "Paid by a callback, without a time of collection."
    if cached.place in _NEW and not (payment.contested or payment.refund_due):
        return cached, note
    if paid_out or payment.refunded_at is not None:
        if paid_out != (payment.refunded_at is not None):
            note = "The refund and the time of the refund contradict each other."
        if paid_out or not refunds:
            return state._replace(place=Place.REFUNDED, approved=False, word=Word.NONE, ordered_at=None), note or (
                "Refunded and contested." if payment.contested else ""
            )
    if open_payout is not None:
        payout, at = _PAYOUTS[Refund.State(open_payout.state)], open_payout.ordered_at
        return state._replace(place=Place.REFUND_TRANSIT, approved=False, payout=payout, ordered_at=at), note
    if not collected:
        return state._replace(place=Place.NONE), note
    state = state._replace(approved=False, ordered_at=None, back=Place.NONE)
    place = current_use().place_of(payment)
    if place is Place.WAITING:
        # Another transaction may be matching this entry now. Wait until it ends.
        place = current_use().hold(payment)
    if payment.contested and payment.status == Status.SUCCESS:
        back = Place.IN_MATCH if place is Place.IN_MATCH else Place.REFUND_DUE
        return state._replace(place=Place.CONTESTED, word=Word.FAILED, back=back), note
    over = place is not Place.IN_MATCH and Payment.objects.filter(current_use().over(), pk=payment.pk).exists()
    if payment.refund_due or payment.status == Status.FAILED or over:
        word = Word.SUCCESSFUL if payment.contested else cached.word
        return state._replace(place=Place.REFUND_DUE, word=word), note
    return state._replace(place=place), note


def _by_callback(payment: Payment) -> bool:
    return Callback.objects.filter(payment=payment, applied=True).exists()
