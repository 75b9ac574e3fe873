"""Giving money back: once a payment, whoever presses twice. Ordered by a person, paid out after commit, or by hand."""

import logging
import time
from collections.abc import Callable

from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from payments import clock, collecting, conf, exchanges, phones, providers, rounds, uses
from payments.models import Payment, Refund
from payments.providers import Answer, Order, Said
from payments.signals import payment_refunded

logger = logging.getLogger("payments")

State = Refund.State


def refundable() -> "Q":
    """Money that is with us, and nobody has begun to give back."""
    begun = Refund.objects.filter(payment=OuterRef("pk")).exclude(state=State.FAILED)
    return Q(collected_at__isnull=False, refunded_at=None) & ~Q(Exists(begun))


def owed() -> "Q":
    """Money that is to be given back: marked so, or its time ended without a match. What the provider itself has taken
    back, or says so, is the operator's to judge first."""
    return (Q(refund_due=True) | uses.current().over()) & ~Q(contested=True, status=Payment.Status.SUCCESS)


def due() -> "QuerySet[Payment]":
    """The payments that are refund due now, by a query: no cron has to have run. Not those under way or in doubt."""
    return Payment.objects.filter(refundable(), owed())


def due_in_parts() -> "tuple[QuerySet[Payment], QuerySet[Payment]]":
    """All of `due()` in two parts that share nothing: each is found by an index, while one condition over both would
    look through all money that is with us."""
    ours = Payment.objects.filter(refundable(), owed())
    return ours.filter(refund_due=True), ours.filter(uses.current().over(), refund_due=False)


def order_payouts(payments: "QuerySet[Payment]", actor: str) -> list[Refund]:
    """Order the payout of those of `payments` that are due; it leaves after commit, inline or by the worker.

    Two who order at once order one. Returns what this call ordered; nothing where no provider is set up, or where a
    number's network is unknown.
    """
    provider = providers.current()
    if provider is None:
        return []
    ordered = []
    for payment_id in due().filter(pk__in=payments.values("pk")).values_list("pk", flat=True):
        refund = _begin(payment_id, due, how=Refund.How.PAYOUT, actor=actor, provider=provider.name)
        if refund is not None:
            ordered.append(refund)
    return ordered


def record_by_hand(payments: "QuerySet[Payment]", actor: str, note: str) -> list[Refund]:
    """Record that the money of those of `payments` that are due or contested went back by another way; `note` says how.
    Returns what this call recorded."""
    recorded = []
    for payment_id in by_hand().filter(pk__in=payments.values("pk")).values_list("pk", flat=True):
        refund = _begin(payment_id, by_hand, how=Refund.How.BY_HAND, actor=actor, note=note[:300])
        if refund is not None:
            recorded.append(refund)
    return recorded


def by_hand() -> "QuerySet[Payment]":
    """What an operator may record as given back: what is due, and what the provider has taken back."""
    return Payment.objects.filter(refundable(), owed() | Q(contested=True))


def _begin(payment_id: int, among: Callable[[], "QuerySet[Payment]"], **values: str) -> Refund | None:
    """Write a refund, if the payment is still among those that may be refunded once nothing can move it any more."""
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=payment_id)
        uses.current().hold(payment)
        payout = values["how"] == Refund.How.PAYOUT
        if not among().filter(pk=payment.pk).exists() or (payout and not _network(payment)):
            return None
        payment.refund_due = True
        payment.save(update_fields=["refund_due"])
        refund = Refund(payment=payment, amount=payment.amount, ordered_at=clock.now(), **values)
        refund.start_at = refund.ordered_at if payout else None
        try:
            with transaction.atomic():
                refund.save(force_insert=True)
        except IntegrityError:
            return None  # somebody else's, in the same moment
        if not payout:
            _end(refund, State.SUCCEEDED, "")
        elif conf.inline():
            transaction.on_commit(lambda: pay_out(refund.pk), robust=True)
        else:
            collecting.tell_workers()
        return refund


def _network(payment: Payment) -> str:
    return payment.network or phones.network_of(payment.phone)


# --- paying out


def pay_out(refund_id: int) -> None:
    """Carry out one payout in this process; nothing happens if another has it already."""
    before = time.monotonic()
    for refund in _claim(1, Refund.objects.filter(pk=refund_id)):
        _record(refund, rounds.ask_guarded(_ask, refund, before))


def pay_out_due(stopping: Callable[[], bool] = lambda: False) -> int:
    """Carry out every payout that is ordered. Returns how many. `stopping`: begin no more."""
    sweep()
    return give_up_stranded() + rounds.run(_claim, _ask, _record, stopping)


def give_up_stranded() -> int:
    """Payouts that were ordered of a provider who is not set up any more are due back again, by another way. Returns
    how many."""
    provider = providers.current()
    stranded = Refund.objects.filter(state=State.ORDERED, start_at__lte=clock.now() - rounds.GIVE_UP)
    if provider is not None:
        stranded = stranded.exclude(provider=provider.name)
    given_up = 0
    for refund_id, payment_id in stranded.values_list("pk", "payment_id"):
        with transaction.atomic():
            payment = Payment.objects.select_for_update().get(pk=payment_id)
            refund = stranded.select_for_update().filter(pk=refund_id).first()
            if refund is not None:
                refund.payment = payment
                _end(refund, State.FAILED, "Its provider is not set up any more.")
                given_up += 1
    return given_up


def sweep() -> int:
    """What a crash left in `started` is in doubt; `start_at` says yet whose claim that was. Returns how many."""
    late = Refund.objects.filter(state=State.STARTED, start_at__lte=clock.now())
    swept = late.update(state=State.IN_DOUBT, reason="The process ended before the answer came.")
    if swept:
        logger.warning("In doubt whether they were paid out: %s refunds.", swept, extra={"event": "payments.swept"})
    return swept


def _claim(limit: int, among: "QuerySet[Refund] | None" = None) -> list[Refund]:
    now, provider = clock.now(), providers.current()
    if provider is None:
        return []
    rows = (Refund.objects.all() if among is None else among).filter(state=State.ORDERED, provider=provider.name)
    with transaction.atomic():
        skip = connection.features.has_select_for_update_skip_locked
        locked = rows.filter(start_at__lte=now).order_by("start_at", "pk").select_for_update(skip_locked=skip)
        keys = list(locked.values_list("pk", flat=True)[:limit])
        Refund.objects.filter(pk__in=keys).update(state=State.STARTED, start_at=now + rounds.lease(provider))
    return list(Refund.objects.filter(pk__in=keys).select_related("payment").order_by("pk"))


def _ask(refund: Refund) -> Answer:
    provider = providers.named(refund.provider)
    if provider is None:
        return Answer(Said.NOT_TAKEN, words="No provider is set up.")
    payment = refund.payment
    return provider.payout(
        Order(
            reference=refund.reference,
            phone=payment.phone,
            network=_network(payment),
            amount=refund.amount,
            description=f"Refund {payment.description or 'PlayMatatu'}"[:100],
        )
    )


def _record(asked: Refund, answer: Answer) -> None:
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=asked.payment_id)
        refund = Refund.objects.select_for_update().get(pk=asked.pk)
        refund.payment = payment
        exchanges.keep(payment, "payout", answer)
        refund.provider_id = refund.provider_id or answer.provider_id
        if refund.state not in (State.STARTED, State.IN_DOUBT):
            refund.save(update_fields=["provider_id"])
            if answer.said is Said.SUCCESS and refund.state == State.FAILED:
                _went_out_after_all(refund, answer)
            return
        if answer.said is Said.NOT_TAKEN and refund.start_at != asked.start_at:
            return  # it was written down before, in a commit whose end was lost; by now somebody else pays it out
        if answer.said is Said.NOT_TAKEN and (age := clock.now() - refund.ordered_at) < rounds.GIVE_UP:
            refund.state, refund.start_at = State.ORDERED, clock.now() + rounds.pause(age)
            refund.reason = answer.words[:200]
            refund.save(update_fields=["provider_id", "state", "start_at", "reason"])
            return
        _end(refund, _STATES.get(answer.said, State.IN_DOUBT), answer.words)


_STATES = {Said.SUCCESS: State.SUCCEEDED, Said.FAILED: State.FAILED, Said.NOT_TAKEN: State.FAILED}


def _went_out_after_all(refund: Refund, answer: Answer) -> None:
    """An operator said that it stayed, and then the provider's late answer came."""
    if not refund.payment.refunds.exclude(state=State.FAILED).exists():
        _end(refund, State.SUCCEEDED, answer.words)
        return
    logger.error(
        "Refund %s was said not to have gone out, and it did: payment %s may be given back twice.",
        refund.pk,
        refund.payment_id,
        extra={"event": "payments.refunded_twice", "refund": refund.pk, "payment": refund.payment_id},
    )


def _end(refund: Refund, state: Refund.State, reason: str) -> None:
    """Under the payment's lock."""
    now = clock.now()
    refund.state, refund.start_at, refund.reason = state, None, reason[:200]
    refund.ended_at = None if state == State.IN_DOUBT else now
    refund.save(update_fields=["provider_id", "state", "start_at", "reason", "ended_at", "resolved_by", "note"])
    if state == State.SUCCEEDED:
        payment = refund.payment
        payment.refund_due, payment.refunded_at, payment.contested = False, now, False
        payment.save(update_fields=["refund_due", "refunded_at", "contested"])
        payment_refunded.send_robust(Payment, payment=payment, refund=refund)
    logger.log(
        logging.INFO if state == State.SUCCEEDED else logging.WARNING,
        "Refund %s of payment %s: %s %s",
        refund.pk,
        refund.payment_id,
        state,
        reason,
        extra={"event": "payments.refund", "refund": refund.pk, "payment": refund.payment_id},
    )


def resolve(refund_id: int, *, went_out: bool, actor: str) -> bool:
    """End the doubt about a payout, as an operator found at the provider. False: it is in no doubt any more."""
    found = Refund.objects.filter(pk=refund_id).first()
    if found is None:
        return False
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=found.payment_id)
        refund = Refund.objects.select_for_update().get(pk=refund_id)
        if refund.state != State.IN_DOUBT:
            return False
        refund.payment, refund.resolved_by = payment, actor[:150]
        _end(refund, State.SUCCEEDED if went_out else State.FAILED, "Looked up by hand.")
        return True
