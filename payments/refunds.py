"""Payouts: refunds to payers, and prizes to winners.

An ordered payout is sent only after a poll has confirmed each payment that funds it. The database allows a new payout
of a payment only if all earlier ones failed or were returned.
"""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from payments import (
    database,
    journal,
    matches,
    phones,
    providers,
    status_polling,
    worker,
)
from payments.journal import Cause
from payments.matches import Locked, Refused
from payments.models import MatchResult, Payment, PayoutShare, Refund
from payments.providers import Answer, Order, Said
from payments.rules import match as match_rules
from payments.rules.match import Prize
from payments.rules.payment import share_of
from payments.rules.states import Effect, Event, Kind, Place
from payments.signals import current_use, payment_refunded, prize_paid

logger = logging.getLogger("payments")

State = Refund.State
AUTOMATIC = "automatic"


def owed() -> Q:
    """Return a condition for payments that are marked for refund, or whose entry expired without a match."""
    return Q(place="refund_due") | (Q(place="in_use") & current_use().over())


def due() -> "QuerySet[Payment]":
    """Return the payments that are due for refund and have no open payout."""
    return Payment.objects.filter(owed())


def due_in_parts() -> "tuple[QuerySet[Payment], QuerySet[Payment]]":
    """Return the payments of `due()` as two disjoint querysets, because one query could not use both indexes."""
    rows = Payment.objects.all()
    return rows.filter(place="refund_due"), rows.filter(current_use().newly_over(), place="in_use")


def order_refund(payment_id: int, actor: str) -> Refund:
    """Order a refund through the provider. It is sent after a poll has confirmed the payment. Raises Refused."""
    with journal.writing():
        return _order(*_refund(payment_id), actor)


def refund_by_hand(payment_id: int, actor: str, note: str, *, elsewhere: bool = False) -> Refund:
    """Record that a payment was refunded by hand. Raises Refused, for example if no refund is due.

    `elsewhere`: True if the money did not come from our account at the provider.
    """
    with journal.writing():
        return _by_hand(*_refund(payment_id), actor, note, elsewhere)


def order_prize(result_id: int, actor: str) -> Refund:
    """Order the payout of the prize to the winner. Raises Refused, for example if the prize is not payable."""
    with journal.writing():
        return _order(*_prize(result_id), actor)


def prize_by_hand(result_id: int, actor: str, note: str, *, elsewhere: bool = False) -> Refund:
    """Record that the winner was paid by hand. Raises Refused, for example if the prize is not payable."""
    with journal.writing():
        return _by_hand(*_prize(result_id), actor, note, elsewhere)


def _refund(payment_id: int) -> tuple[Locked, Refund]:
    """Lock a payment, and return it with a new, unsaved refund.

    If the payment's entry expired without a match, first mark the payment for refund. Raises Refused if the payment is
    part of a prize.
    """
    found = matches.locked(payment_id)
    payment = found.payment
    if payment.place == "in_use":
        current_use().hold(payment)
        if Payment.objects.filter(current_use().over(), pk=payment.pk).exists():
            journal.take(payment, Event(Kind.UNUSED))
    if payment.place == Place.PRIZE.value:
        raise Refused("It is a share of a prize.")
    return found, Refund(payment=payment, amount=payment.amount)


def _prize(result_id: int) -> tuple[Locked, Refund]:
    """Lock both payments of a match, and return them with a new, unsaved payout of the prize.

    Raises Refused if the prize is not payable.
    """
    found = matches.locked_result(result_id)
    result = found.result
    if result is None or result.winner_id is None or matches.prize(found) is not Prize.PAYABLE:
        raise Refused("No prize is payable.")
    winner = next(payment for payment in found.payments if payment.pk == result.winner_id)
    amount = sum(payment.amount - payment.fee for payment in found.payments)
    return found, Refund(payment=winner, amount=amount, kind=Refund.Kind.PRIZE)


def _order(found: Locked, refund: Refund, actor: str) -> Refund:
    payments = _paid_by(found, refund)
    provider = providers.named(payments[0].provider)
    if provider is None:
        raise Refused("No provider that is set up can pay it out: record it by hand.")
    if not network_of(refund.payment) or not all(status_polling.ids_of(payment) for payment in payments):
        raise Refused("The provider's id or the number's network is not known: record it by hand.")
    refund.how, refund.actor, refund.provider = Refund.How.PAYOUT, actor, provider.name
    refund.start_at = database.now()
    _begin(found, refund, Kind.ORDERED)
    if worker.inline():
        transaction.on_commit(lambda: _poll_and_send(found, refund), robust=True)
    else:
        worker.tell_workers()
    return refund


def _by_hand(found: Locked, refund: Refund, actor: str, note: str, elsewhere: bool) -> Refund:
    refund.how, refund.actor, refund.note = Refund.How.BY_HAND, actor, note[:300]
    _end(refund, State.SUCCEEDED, "", _begin(found, refund, Kind.BY_HAND, elsewhere=elsewhere))
    return refund


def pay_prizes_due() -> int:
    """If PRIZE_AUTO_PAYOUT is on, order up to 100 payouts of payable prizes. Return the number of orders."""
    if not settings.PRIZE_AUTO_PAYOUT:
        return 0
    ordered, names = 0, [provider.name for provider in providers.configured()]
    payable = MatchResult.objects.filter(
        prize=Prize.PAYABLE.value, first__provider__in=names, second__provider__in=names
    )
    # One call tries 100 prizes in random order. In a fixed order, 100 refused prizes would block all others.
    for key in list(payable.order_by("?").values_list("pk", flat=True)[:100]):
        try:
            order_prize(key, AUTOMATIC)
            ordered += 1
        except Refused as refusal:
            logger.info(
                "payments.prize_not_ordered: the prize of result %s was not ordered: %s",
                key,
                refusal,
                extra={"event": "payments.prize_not_ordered", "result": key},
            )
    return ordered


def _begin(found: Locked, refund: Refund, kind: Kind, *, elsewhere: bool = False) -> tuple[Effect, ...]:
    """Save a new payout. Raises Refused if the rules forbid it, or if another payout of the payment is open."""
    refund.ordered_at = database.now()
    place = Place.PRIZE if refund.kind == Refund.Kind.PRIZE else Place.REFUND_DUE
    shares = [(one, share_of(journal.state_of(one), place)) for one in _paid_by(found, refund)]
    event = Event(kind, actor=refund.actor, elsewhere=elsewhere, alone=settings.PAYMENTS_SINGLE_OPERATOR)
    effects = _take(found, refund, event, Cause("operator", refund.actor, refund.note))
    try:
        with transaction.atomic():
            refund.save(force_insert=True)
            PayoutShare.objects.bulk_create(
                [PayoutShare(payout=refund, payment=one, amount=due) for one, due in shares]
            )
    except IntegrityError:
        raise Refused("Another payout of this payment is open.") from None
    return effects


def _poll_and_send(found: Locked, refund: Refund) -> None:
    for payment in _paid_by(found, refund):
        status_polling.poll(payment.pk)
    pay_out(refund.pk)


def _paid_by(found: Locked, refund: Refund) -> list[Payment]:
    return found.payments if refund.kind == Refund.Kind.PRIZE else [found.payment]


def _take(found: Locked, refund: Refund, event: Event, cause: Cause, *, some: bool = False) -> tuple[Effect, ...]:
    """Apply an event of a payout to the payment of a refund, or to both payments of a prize.

    Raises Refused. `some`: if True, the event of a prize is applied even if one of the two payments refuses it.
    """
    if refund.kind == Refund.Kind.PRIZE:
        now, match = database.now(), matches.state(found)
        if event.kind in (Kind.ORDERED, Kind.BY_HAND):
            done = match_rules.order(match, event, now)
        elif some:
            done = match_rules.some(match, event, now)
        else:
            done = match_rules.step(match, event, now)
        if done.refusal:
            raise Refused(done.refusal)
        matches.write(found, done, now, cause)
        return done.effects
    outcome = matches.take(found.payment, event, cause)
    if outcome.refusal:
        raise Refused(outcome.refusal)
    return outcome.effects


def network_of(payment: Payment) -> str:
    """Return the payer's mobile network from the column, else from the phone's prefix, or "" if it is unknown."""
    return payment.network or phones.network_of(payment.phone)


def _locked(refund_id: int) -> tuple[Refund, Locked]:
    """Lock the payments of a payout and then the payout itself. Return the payout and the payments."""
    refund = Refund.objects.get(pk=refund_id)
    if refund.kind == Refund.Kind.PRIZE:
        result = MatchResult.objects.get(Q(first=refund.payment_id) | Q(second=refund.payment_id))
        found = matches.locked_result(result.pk)
    else:
        found = matches.locked(refund.payment_id)
    refund = Refund.objects.select_for_update(no_key=True).get(pk=refund_id)
    refund.payment = next(one for one in [found.payment, *found.payments] if one.pk == refund.payment_id)
    return refund, found


def send_soon(payment_id: int) -> None:
    """Have the ordered payouts of a confirmed payment sent, by this process or by the workers."""
    keys = PayoutShare.objects.filter(payment=payment_id, open=True, payout__state=State.ORDERED)
    for key in list(keys.values_list("payout", flat=True)):
        if worker.inline():
            pay_out(key)
        else:
            worker.tell_workers()


def pay_out(refund_id: int) -> None:
    """Send one payout in this process, if a poll has confirmed its payments and no other process is sending it."""
    before = time.monotonic()
    for refund in _claim(1, Refund.objects.filter(pk=refund_id)):
        _record(refund, worker.ask_guarded(_ask, refund, before))


def pay_out_due(stopping: Callable[[], bool] = lambda: False) -> int:
    """Do the due work on payouts. Return the number of payouts sent, ordered, settled by a poll, or canceled.

    `stopping`: when it returns True, no further payout is sent.
    """
    sweep()
    done = pay_prizes_due() + poll_ambiguous() + give_up_stranded()
    return done + worker.run(_claim, _ask, _record, stopping)


def _confirmed() -> "QuerySet[Refund]":
    """Return the payouts that may be sent. Each of their shares meets the condition of `rules.payment.may_pay_out`."""
    confirmed = Q(payment__house_share=True) | Q(
        payment__word="successful",
        payment__ok_at__gt=F("payment__payout_ordered_at"),
        payment__answer_owed_since=None,
    )
    shares = PayoutShare.objects.filter(payout=OuterRef("pk"))
    return Refund.objects.filter(Exists(shares)).exclude(Exists(shares.exclude(confirmed)))


def _claim(limit: int, among: "QuerySet[Refund] | None" = None) -> list[Refund]:
    """Claim and return up to `limit` payouts that may be sent. No other process sends a claimed payout."""
    rows = _confirmed().filter(state=State.ORDERED, start_at__lte=database.now())
    if among is not None:
        rows = rows.filter(pk__in=among.values("pk"))
    claimed = []
    for key in list(rows.order_by("start_at", "pk").values_list("pk", flat=True)[:limit]):
        refund = _claim_one(key)
        if refund is not None:
            claimed.append(refund)
    return claimed


def _claim_one(refund_id: int) -> Refund | None:
    with journal.writing():
        refund, found = _locked(refund_id)
        provider = providers.named(refund.provider)
        if refund.state != State.ORDERED or provider is None or (refund.start_at or database.now()) > database.now():
            return None
        try:
            _take(found, refund, Event(Kind.PAYOUT_CLAIMED), Cause(payout=refund))
        except Refused:
            return None
        refund.state, refund.start_at = State.STARTED, database.now() + worker.lease(provider)
        refund.save(update_fields=["state", "start_at"])
        return refund


def _ask(refund: Refund) -> Answer:
    provider = providers.named(refund.provider)
    if provider is None:
        return Answer(Said.NOT_TAKEN, words="No provider is set up.")
    payment = refund.payment
    what = "Prize" if refund.kind == Refund.Kind.PRIZE else "Refund"
    return provider.payout(
        Order(
            reference=refund.reference,
            phone=payment.phone,
            network=network_of(payment),
            amount=refund.amount,
            description=f"{what} {payment.description or 'PlayMatatu'}"[:100],
        )
    )


_KINDS = {Said.SUCCESS: Kind.PAYOUT_SUCCESSFUL, Said.FAILED: Kind.PAYOUT_FAILED, Said.NOT_TAKEN: Kind.PAYOUT_FAILED}
_STATES = {Kind.PAYOUT_SUCCESSFUL: State.SUCCEEDED, Kind.PAYOUT_FAILED: State.FAILED}


def _record(asked: Refund, answer: Answer) -> None:
    """Record the provider's answer to a payout."""
    with journal.writing():
        refund, found = _locked(asked.pk)
        if answer.said is Said.NOT_TAKEN and refund.start_at != asked.start_at:
            # The claim is over. Either this answer was recorded before, but the confirmation of the commit was lost:
            # another process may be sending the payout again. Or `sweep` has marked the payout as ambiguous.
            return
        refund.provider_id = refund.provider_id or answer.provider_id
        cause = Cause(note=answer.words, payout=refund, answer=answer)
        if refund.state not in (State.STARTED, State.IN_DOUBT):
            refund.save(update_fields=["provider_id"])
            if answer.said is Said.SUCCESS and refund.state == State.FAILED:
                _went_out_after_all(refund, found, cause)
            return
        age = database.now() - refund.ordered_at
        if answer.said is Said.NOT_TAKEN and age < worker.GIVE_UP and refund.state == State.STARTED:
            effects = _take(found, refund, Event(Kind.PAYOUT_NOT_TAKEN), cause)
            if not any(effect.name == "operator" for effect in effects):
                _retry(refund, answer, age)
                return
            _end(refund, State.FAILED, answer.words, effects)
            return
        kind = _KINDS.get(answer.said, Kind.PAYOUT_AMBIGUOUS)
        if kind is Kind.PAYOUT_AMBIGUOUS:
            _doubt(refund, found, answer.words, cause)
            return
        _end(refund, _STATES[kind], answer.words, _take(found, refund, Event(kind), cause))


def _retry(refund: Refund, answer: Answer, age: timedelta) -> None:
    refund.state, refund.start_at = State.ORDERED, database.now() + worker.pause(age)
    refund.reason = answer.words[:200]
    refund.save(update_fields=["provider_id", "state", "start_at", "reason"])


def _doubt(refund: Refund, found: Locked, reason: str, cause: Cause) -> None:
    """Mark a payout as ambiguous, so that it is never sent again."""
    if refund.state == State.STARTED:
        _take(found, refund, Event(Kind.PAYOUT_AMBIGUOUS), cause)
    _end(refund, State.IN_DOUBT, reason, ())


def sweep() -> int:
    """Mark payouts as ambiguous if the process that claimed them recorded no answer in time. Return their number."""
    late = Refund.objects.filter(state=State.STARTED, start_at__lte=database.now())
    swept = 0
    for key in list(late.values_list("pk", flat=True)[:100]):
        with journal.writing():
            refund, found = _locked(key)
            if refund.state == State.STARTED and refund.start_at is not None and refund.start_at <= database.now():
                reason = "The process ended before the answer came."
                _doubt(refund, found, reason, Cause(note=reason, payout=refund))
                swept += 1
    if swept:
        logger.warning(
            "payments.swept: %s payouts are ambiguous: a process ended while it sent them.",
            swept,
            extra={"event": "payments.swept"},
        )
    return swept


def poll_ambiguous() -> int:
    """Poll up to 20 payouts whose outcome the provider has not confirmed. Return how many polls brought a result."""
    ended = 0
    rows = Refund.objects.filter(state__in=(State.IN_DOUBT, State.FAILED), start_at__lte=database.now())
    for refund in list(rows.order_by("start_at", "pk")[:20]):
        provider = providers.named(refund.provider)
        answer = provider.status(refund.provider_id) if provider is not None else Answer(Said.IN_DOUBT)
        if answer.ours not in ("", refund.reference) or answer.said not in _KINDS:
            since = refund.ended_at or refund.ordered_at
            pause = status_polling.next_pause((database.now() - since).total_seconds())
            next_at = None if pause is None else database.now() + timedelta(seconds=pause)
            Refund.objects.filter(pk=refund.pk, state=refund.state).update(start_at=next_at)
            continue
        with journal.writing():
            locked, found = _locked(refund.pk)
            cause = Cause(note=answer.words, payout=locked, answer=answer)
            if locked.state != refund.state or locked.start_at is None:
                continue
            if locked.state == State.IN_DOUBT:
                effects = _take(found, locked, Event(_KINDS[answer.said]), cause)
                _end(locked, _STATES[_KINDS[answer.said]], answer.words, effects)
            else:
                locked.start_at = None
                locked.save(update_fields=["start_at"])
                if answer.said is Said.SUCCESS:
                    _went_out_after_all(locked, found, cause)
            ended += 1
    return ended


def give_up_stranded() -> int:
    """Cancel ordered payouts that cannot be sent. Return the number of canceled payouts."""
    now, given_up = database.now(), 0
    for refund in list(Refund.objects.filter(state=State.ORDERED, start_at__lte=now - worker.GIVE_UP)[:100]):
        if providers.named(refund.provider) is None:
            given_up += _withdraw(refund.pk, "Its provider is not set up any more.", Cause())
        elif refund.ordered_at <= now - status_polling.DAY:
            given_up += _withdraw(refund.pk, "No poll has confirmed for a day that the money is with us.", Cause())
    return given_up


def withdraw(refund_id: int, actor: str, note: str = "") -> bool:
    """Cancel an ordered payout. Return False if it is being sent or has ended."""
    return _withdraw(refund_id, note or "The order was taken back.", Cause("operator", actor, note))


def _withdraw(refund_id: int, reason: str, cause: Cause) -> bool:
    with journal.writing():
        refund, found = _locked(refund_id)
        if refund.state != State.ORDERED:
            return False
        effects = _take(found, refund, Event(Kind.ORDER_WITHDRAWN, actor=cause.actor), cause)
        refund.resolved_by = cause.actor[:150]
        _end(refund, State.FAILED, reason, effects)
        return True


def resolve(refund_id: int, *, went_out: bool, actor: str, note: str = "") -> bool:
    """Settle an ambiguous payout with the result that an operator found at the provider.

    Return False if the payout is not ambiguous or does not exist.
    """
    if not Refund.objects.filter(pk=refund_id).exists():
        return False
    with journal.writing():
        refund, found = _locked(refund_id)
        if refund.state != State.IN_DOUBT:
            return False
        kind = Kind.PAYOUT_SUCCESSFUL if went_out else Kind.PAYOUT_FAILED
        cause = Cause("operator", actor, note, payout=refund)
        effects = _take(found, refund, Event(kind, actor=actor), cause)
        refund.resolved_by = actor[:150]
        _end(refund, _STATES[kind], "Looked up by hand.", effects)
        return True


def returned(refund_id: int, actor: str, note: str) -> bool:
    """Record that the provider returned a payout, so that the money can be paid out again.

    Return False if the payout had not succeeded, or if the rules allow the event for none of its payments.
    """
    with journal.writing():
        refund, found = _locked(refund_id)
        if refund.state != State.SUCCEEDED:
            return False
        last = found.payment.events.filter(kind=Kind.BY_HAND.value, refused="").order_by("-pk").first()
        elsewhere = refund.how == Refund.How.BY_HAND and last is not None and bool(last.facts.get("elsewhere"))
        event = Event(Kind.RETURNED, actor=actor, elsewhere=elsewhere)
        try:
            _take(found, refund, event, Cause("operator", actor, note, payout=refund), some=True)
        except Refused:
            return False
        refund.resolved_by, refund.note = actor[:150], note[:300]
        _end(refund, State.RETURNED, "The provider returned it.", ())
        return True


def _went_out_after_all(refund: Refund, found: Locked, cause: Cause) -> None:
    """Handle a late answer of the provider: a payout was made that an operator had marked as not paid out."""
    place = Place.PRIZE if refund.kind == Refund.Kind.PRIZE else Place.REFUND_DUE
    effects = _take(found, refund, Event(Kind.LATE_SUCCESS, place=place), cause, some=True)
    if any(effect.name == "alarm" for effect in effects):
        logger.error(
            "payments.refunded_twice: payout %s was marked as not paid out, but it was made: payment %s is paid twice.",
            refund.pk,
            refund.payment_id,
            extra={"event": "payments.refunded_twice", "refund": refund.pk, "payment": refund.payment_id},
        )
        return
    _end(refund, State.SUCCEEDED, cause.note, effects)
    PayoutShare.objects.filter(payout=refund).update(open=True)


def tell(refund: Refund) -> bool:
    """Send the signal that a payout has arrived. Return False if a receiver fails.

    In this case, `services.tell_again` sends the signal again later.
    """
    signal = prize_paid if refund.kind == Refund.Kind.PRIZE else payment_refunded
    answers = signal.send_robust(Payment, payment=refund.payment, refund=refund)
    journal.raise_if_lost(answers)
    failed = any(isinstance(answer, Exception) for _receiver, answer in answers)
    if failed != refund.signal_due:
        refund.signal_due = failed
        refund.save(update_fields=["signal_due"])
    return not failed


def _end(refund: Refund, state: Refund.State, reason: str, effects: Iterable[Effect]) -> None:
    """Save how a payout ended, or that its outcome is unknown. The caller has locked its payments."""
    now = database.now()
    refund.state, refund.reason = state, reason[:200]
    is_unproved = state == State.IN_DOUBT or (state == State.FAILED and bool(refund.resolved_by))
    refund.start_at = now if is_unproved and refund.provider_id else None
    refund.ended_at = None if state == State.IN_DOUBT else now
    refund.save(update_fields=["provider_id", "state", "start_at", "reason", "ended_at", "resolved_by", "note"])
    if state in (State.FAILED, State.RETURNED):
        PayoutShare.objects.filter(payout=refund, open=True).update(open=False)
    if state == State.SUCCEEDED and any(effect.name in ("refunded", "prize_paid") for effect in effects):
        tell(refund)
    logger.log(
        logging.INFO if state == State.SUCCEEDED else logging.WARNING,
        "payments.refund: the %s %s of payment %s: %s %s",
        refund.get_kind_display(),
        refund.pk,
        refund.payment_id,
        state,
        reason,
        extra={"event": "payments.refund", "refund": refund.pk, "payment": refund.payment_id},
    )
