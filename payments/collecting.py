"""Asking the payer for the money: an order written with the payment, carried out once after its commit.

A payment's `collection` says how far it is: `due` → `asking`, under a lease, while the request is under way → `asked`.
What surely never arrived is `due` again; what was written and not answered is `in_doubt` and never asked again; so is
what a crash left in `asking`. Whoever wants takes part: a row is claimed by one.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import F, QuerySet

from payments import asking, clock, conf, exchanges, notice_address, phones, providers, rounds
from payments.models import Payment
from payments.providers import Answer, Order, Said
from payments.settling import settle

logger = logging.getLogger("payments")

# The channel on which workers of PostgreSQL are told of orders that are due and payments that are to be asked about.
CHANNEL = "payments_work"
# How long a phone may ring for one order, counted from the request.
RINGING = timedelta(minutes=3)
_AT_ONCE = 500

Collection = Payment.Collection
_OPEN = (Collection.DUE, Collection.ASKING, Collection.ASKED, Collection.IN_DOUBT)


def is_on() -> bool:
    """Whether we collect; else somebody else does and calls back."""
    return providers.current() is not None


def seconds_ringing(phone: str) -> int:
    """For how many seconds yet `phone` (E.164) may be asked for an earlier payment; 0: a new one may be ordered.

    Three minutes from the request for the money, or until it has an end. One that is only due is withdrawn by the next
    order, so it does not count. Ask under a lock on the payer.
    """
    open_orders = Payment.objects.filter(phone=phone, status=Payment.Status.PENDING, collection__in=_OPEN)
    last = open_orders.exclude(asked_at=None).order_by("-asked_at").values_list("asked_at", flat=True).first()
    if last is None:
        return 0
    left = (last + RINGING - clock.now()).total_seconds()
    return max(0, -int(-left // 1))


def withdraw(payments: "QuerySet[Payment]") -> int:
    """Take back the orders of these payments that nobody has begun to carry out. Returns how many."""
    return payments.filter(collection=Collection.DUE, status=Payment.Status.PENDING).update(
        collection=Collection.WITHDRAWN, start_at=None
    )


def order(payment: Payment, description: str) -> None:
    """Note on an unsaved payment that it is to be collected, where collection is on; earlier orders that the same phone
    was not yet asked for are withdrawn."""
    provider = providers.current()
    if provider is None:
        return
    payment.network = phones.network_of(payment.phone)
    if not payment.network:
        raise ValueError("The network of this number is not known, so nobody can be asked for the money.")
    withdraw(Payment.objects.filter(phone=payment.phone))
    payment.collection, payment.provider = Collection.DUE, provider.name
    payment.description = description[:100]
    payment.start_at = payment.created_at


def set_off(payment: Payment) -> None:
    """See to it that the order is carried out after commit: here, or by a worker that is told of it."""
    if payment.collection != Collection.DUE:
        return
    if conf.inline():
        transaction.on_commit(lambda: start(payment.pk), robust=True)
    else:
        tell_workers()


def tell_workers() -> None:
    """NOTIFY after commit, once a transaction; what a crash keeps untold the workers' poll finds."""
    if connection.vendor == "postgresql" and not any(call[1] is _notify for call in connection.run_on_commit):
        transaction.on_commit(_notify, robust=True)


def _notify() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {CHANNEL}")


# --- carrying out


def start(payment_id: int) -> None:
    """Carry out one order in this process; nothing happens if another has it already."""
    before = time.monotonic()
    for payment in _claim(1, Payment.objects.filter(pk=payment_id)):
        _record(payment, rounds.ask_guarded(_ask, payment, before))


def start_due(stopping: Callable[[], bool] = lambda: False) -> int:
    """Carry out every order that is due, until none is left. Returns how many. `stopping`: begin no more."""
    sweep()
    return give_up_late() + rounds.run(_claim, _ask, _record, stopping)


def give_up_late() -> int:
    """Orders that nobody could carry out in time, as no worker ran or collection was turned off, are not carried out
    any more: whoever is rung out of the blue pays for a stake that they have forgotten. Returns how many."""
    late = Payment.objects.filter(collection=Collection.DUE, created_at__lte=clock.now() - rounds.GIVE_UP)
    given_up = 0
    for key in late.values_list("pk", flat=True)[:_AT_ONCE]:
        skip = connection.features.has_select_for_update_skip_locked
        with transaction.atomic():
            if late.select_for_update(skip_locked=skip).filter(pk=key).first() is not None:
                settle(key, Payment.Status.FAILED, by="answer", reason="The payer could not be asked in time.")
                given_up += 1
    return given_up


def sweep() -> int:
    """What a crash left in `asking` is in doubt. Returns how many."""
    now = clock.now()
    late = Payment.objects.filter(collection=Collection.ASKING, start_at__lte=now)
    swept = late.update(
        collection=Collection.IN_DOUBT, start_at=None, next_ask_at=F("asked_at") + timedelta(seconds=asking.A_DAY)
    )
    if swept:
        logger.warning("In doubt whether the payer was asked: %s payments.", swept, extra={"event": "payments.swept"})
    return swept


def _claim(limit: int, among: "QuerySet[Payment] | None" = None) -> list[Payment]:
    """Up to `limit` due orders, oldest first, now `asking` for the caller alone."""
    rows = (Payment.objects.all() if among is None else among).filter(collection=Collection.DUE)
    now, provider = clock.now(), providers.current()
    if provider is None:
        return []
    with transaction.atomic():
        locked = rows.filter(start_at__lte=now, provider=provider.name).order_by("start_at", "pk")
        skip = connection.features.has_select_for_update_skip_locked
        keys = list(locked.select_for_update(skip_locked=skip).values_list("pk", flat=True)[:limit])
        Payment.objects.filter(pk__in=keys).update(
            collection=Collection.ASKING, start_at=now + rounds.lease(provider), asked_at=now
        )
    return list(Payment.objects.filter(pk__in=keys).order_by("pk"))


def _ask(payment: Payment) -> Answer:
    """The request itself. Knows no database, so it runs in any thread."""
    provider = providers.named(payment.provider)
    if provider is None:
        return Answer(Said.NOT_TAKEN, words="Collection is off.")
    return provider.collect(
        Order(
            reference=payment.transaction_id,
            phone=payment.phone,
            network=payment.network,
            amount=payment.amount,
            description=payment.description,
            notify_url=notice_address.notice_url(payment.pk),
        )
    )


def _record(asked: Payment, answer: Answer) -> None:
    """Write down what came of an order. A word that came meanwhile, from a callback say, stands."""
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=asked.pk)
        exchanges.keep(payment, "collect", answer)
        if answer.provider_id and not payment.provider_id:
            payment.provider_id = answer.provider_id
            payment.save(update_fields=["provider_id"])
        if payment.collection in (Collection.ASKING, Collection.IN_DOUBT):
            _move(payment, answer, asked)
        if answer.said in (Said.SUCCESS, Said.FAILED):
            said = Payment.Status.SUCCESS if answer.said is Said.SUCCESS else Payment.Status.FAILED
            settle(payment.pk, said, by="answer", reason=answer.words)
    level = logging.INFO if answer.said is Said.PENDING else logging.WARNING
    logger.log(
        level,
        "Payment %s was asked for: %s %s",
        asked.pk,
        answer.said.value,
        answer.words,
        extra={"event": "payments.asked", "payment": asked.pk, "http_status": answer.http_status, "ms": answer.ms},
    )


def _move(payment: Payment, answer: Answer, asked: Payment) -> None:
    if answer.said is Said.NOT_TAKEN and payment.asked_at != asked.asked_at:
        return  # it was written down before, in a commit whose end was lost; by now somebody else asks
    now, asked_at = clock.now(), payment.asked_at or payment.created_at
    payment.start_at = None
    if answer.said is Said.NOT_TAKEN:
        payment.asked_at = None
        if now - payment.created_at >= rounds.GIVE_UP:
            payment.save(update_fields=["start_at", "asked_at"])
            settle(payment.pk, Payment.Status.FAILED, by="answer", reason=answer.words)
            return
        payment.collection = Collection.DUE
        payment.start_at = now + rounds.pause(now - payment.created_at)
    else:
        payment.collection = Collection.IN_DOUBT if answer.said is Said.IN_DOUBT else Collection.ASKED
        if answer.said not in (Said.SUCCESS, Said.FAILED):  # an end leaves nothing to ask
            payment.next_ask_at = _sooner(payment.next_ask_at, asking.first_ask(payment, asked_at, now))
    payment.save(update_fields=["collection", "start_at", "asked_at", "next_ask_at"])


def _sooner(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else min(one, other)
