"""Send payment requests.

A request that the provider certainly did not accept is sent again for up to ten minutes. A request that the provider
may have accepted is ambiguous and is never sent again.
"""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.core.signing import Signer
from django.db import transaction
from django.db.models import F, QuerySet
from django.urls import NoReverseMatch, reverse

from payments import database, journal, matches, phones, providers, status_polling, worker
from payments.journal import Cause
from payments.models import Payment
from payments.providers import Answer, Order, Said
from payments.rules.states import Event, Kind, Word

logger = logging.getLogger("payments")

# Longest time for which a phone shows a payment prompt.
RINGING = timedelta(minutes=3)
_AT_ONCE = 500

Collection, Status = Payment.Collection, Payment.Status
_OPEN = (Collection.DUE, Collection.ASKING, Collection.ASKED, Collection.IN_DOUBT)
_ENDS = {Said.SUCCESS: Word.SUCCESSFUL, Said.FAILED: Word.FAILED}


def is_on() -> bool:
    """Return True if a provider is configured. Otherwise a third party collects payments and sends callbacks."""
    return providers.current() is not None


def networks() -> frozenset[str]:
    """Return the mobile networks from which the configured providers collect."""
    return frozenset(network for provider in providers.configured() for network in provider.networks)


def is_open(payment: Payment) -> bool:
    """Return True if the payment is PENDING and its request is due, being sent, sent or ambiguous."""
    return payment.status == Status.PENDING and payment.collection in _OPEN


def lock_open(phone: str) -> frozenset[int]:
    """Lock a phone's payments with an open request, and return their ids. Withdraw requests that were not yet sent.

    `phone`: in E.164. Call this before locking the player.
    """
    rows = Payment.objects.filter(phone=phone, status=Status.PENDING, collection__in=_OPEN).order_by("pk")
    payments = list(rows.select_for_update(no_key=True))
    _withdraw(payments)
    return frozenset(payment.pk for payment in payments)


def seconds_ringing(payments: Iterable[Payment]) -> int:
    """Return the seconds for which a phone may still show the prompt of one of these payments, or 0."""
    asked = [
        payment.asked_at
        for payment in payments
        if payment.asked_at and is_open(payment) and payment.collection != Collection.DUE
    ]
    left = (max(asked) + RINGING - database.now()).total_seconds() if asked else 0
    return max(0, -int(-left // 1))


def withdraw(payment: Payment) -> bool:
    """Withdraw the request of a locked payment if no process has begun to send it. Return True if it was withdrawn."""
    return bool(_withdraw([payment]))


def _withdraw(payments: list[Payment]) -> int:
    withdrawn = 0
    for payment in payments:
        if payment.collection == Collection.DUE and payment.status == Status.PENDING:
            journal.ensure_adopted(payment)
            payment.start_at = None
            journal.take(payment, Event(Kind.WITHDRAWN), also=("start_at",))
            withdrawn += 1
    return withdrawn


def order(payment: Payment, description: str) -> None:
    """Prepare an unsaved payment for a payment request, if a provider is configured.

    Raises ValueError if no configured provider serves the network of the phone number.
    """
    if providers.current() is None:
        return
    payment.network = phones.network_of(payment.phone)
    provider = providers.for_network(payment.network)
    if provider is None:
        raise ValueError("The network of this number is not known, so it cannot get a payment request.")
    payment.provider, payment.description = provider.name, description[:100]
    payment.collection, payment.start_at = Collection.DUE, payment.created_at


def set_off(payment: Payment) -> None:
    """Send the payment request after the commit, either in this process or through a worker."""
    if payment.collection != Collection.DUE:
        return
    if worker.inline():
        transaction.on_commit(lambda: start(payment.pk), robust=True)
    else:
        worker.tell_workers()


def start(payment_id: int) -> None:
    """Send one payment request in this process, if it is due and no other process is sending it."""
    before = time.monotonic()
    for payment in _claim(1, Payment.objects.filter(pk=payment_id)):
        _record(payment, worker.ask_guarded(_ask, payment, before))


def start_due(stopping: Callable[[], bool] = lambda: False) -> int:
    """Send all due payment requests. Return the number of requests that were sent or given up.

    `stopping`: when it returns True, no further request is begun.
    """
    sweep()
    return give_up_late() + worker.run(_claim, _ask, _record, stopping)


def give_up_late() -> int:
    """Give up payment requests that could not be sent within ten minutes. Return their number.

    After ten minutes, the player no longer expects the prompt.
    """
    late = Payment.objects.filter(collection=Collection.DUE, created_at__lte=database.now() - worker.GIVE_UP)
    given_up = 0
    for key in late.values_list("pk", flat=True)[:_AT_ONCE]:
        with journal.writing():
            payment = database.not_locked(late.filter(pk=key)).first()
            if payment is not None:
                journal.ensure_adopted(payment)
                cause = Cause("answer", reason="The payment request could not be sent in time.")
                journal.take(payment, Event(Kind.GIVEN_UP), cause)
                given_up += 1
    return given_up


def sweep() -> int:
    """Mark requests as ambiguous if the process that claimed them recorded no answer in time. Return their number."""
    late = Payment.objects.filter(collection=Collection.ASKING, start_at__lte=database.now())
    swept = 0
    for key in list(late.values_list("pk", flat=True)[:_AT_ONCE]):
        with journal.writing():
            payment = late.select_for_update(no_key=True).filter(pk=key).first()
            if payment is None:
                continue
            journal.ensure_adopted(payment)
            payment.start_at, payment.next_ask_at = None, (payment.asked_at or payment.created_at) + status_polling.DAY
            journal.take(
                payment,
                Event(Kind.REQUEST_AMBIGUOUS),
                Cause(note="The process ended before the answer came."),
                also=("start_at", "next_ask_at"),
            )
            swept += 1
    if swept:
        logger.warning(
            "payments.swept: %s payment requests are ambiguous: a process ended while it sent them.",
            swept,
            extra={"event": "payments.swept"},
        )
    return swept


def _claim(limit: int, among: "QuerySet[Payment] | None" = None) -> list[Payment]:
    """Claim up to `limit` due requests and return their payments. No other process sends a claimed request."""
    rows = (Payment.objects.all() if among is None else among).filter(collection=Collection.DUE)
    now, provider = database.now(), providers.current()
    if provider is None:
        return []
    with journal.writing():
        due = rows.filter(start_at__lte=now, provider=provider.name).order_by("start_at", "pk")
        claimed = list(database.not_locked(due)[:limit])
        until = now + worker.lease(provider)
        for payment in claimed:
            journal.ensure_adopted(payment)
            payment.collection, payment.start_at, payment.asked_at = Collection.ASKING, until, now
            payment.version += 1
            journal.record(payment, Event(Kind.CLAIMED), (), now, Cause())
        Payment.objects.filter(pk__in=[payment.pk for payment in claimed]).update(
            collection=Collection.ASKING, start_at=until, asked_at=now, version=F("version") + 1
        )
    return sorted(claimed, key=lambda payment: payment.pk)


def _ask(payment: Payment) -> Answer:
    """Send the payment request to the provider. The database is not used, so any thread may call this."""
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
            notify_url=notice_url(payment.pk),
        )
    )


def notice_url(payment_id: int) -> str:
    """Return the signed URL for notifications about a payment, or "" if SITE_URL or the route is missing."""
    site = str(settings.SITE_URL).rstrip("/")
    if not site:
        return ""
    try:
        return site + reverse("payments:dmarkpay", args=[signer().sign(str(payment_id))])
    except NoReverseMatch:
        return ""


def signer() -> Signer:
    return Signer(sep=".", salt="payments.dmarkpay")


def _record(asked: Payment, answer: Answer) -> None:
    """Record the provider's answer to a payment request. If the payment has a final status, that status is kept."""
    with journal.writing():
        payment = journal.locked(asked.pk)
        also: tuple[str, ...] = ()
        if answer.provider_id and not payment.provider_id:
            payment.provider_id, also = answer.provider_id, ("provider_id",)
        cause = Cause("answer", note=answer.words, reason=answer.words, answer=answer)
        if answer.said in _ENDS:
            began = asked.asked_at or asked.created_at
            matches.take_word(payment, _ENDS[answer.said], began=began, polled=False, cause=cause, also=also)
            if (poll_at := status_polling.planned(payment, database.now())) and status_polling.ids_of(payment):
                payment.next_ask_at = _sooner(payment.next_ask_at, poll_at)
                payment.save(update_fields=["next_ask_at"])
        else:
            _move(payment, answer, asked, cause, also)
    logger.log(
        logging.INFO if answer.said is Said.PENDING else logging.WARNING,
        "payments.asked: the request of payment %s was answered: %s %s",
        asked.pk,
        answer.said.value,
        answer.words,
        extra={"event": "payments.asked", "payment": asked.pk, "http_status": answer.http_status, "ms": answer.ms},
    )


def _move(payment: Payment, answer: Answer, asked: Payment, cause: Cause, also: tuple[str, ...]) -> None:
    under_way = payment.collection in (Collection.ASKING, Collection.IN_DOUBT)
    if answer.said is Said.NOT_TAKEN and payment.asked_at != asked.asked_at:
        # This answer was recorded before, but the confirmation of the commit was lost. Change nothing, because another
        # process may be sending the request again.
        return
    now, asked_at = database.now(), payment.asked_at or payment.created_at
    if answer.said is Said.NOT_TAKEN:
        age = now - payment.created_at
        event = Event(Kind.REQUEST_NOT_TAKEN, late=age >= worker.GIVE_UP)
        if under_way:
            payment.asked_at = None
            payment.start_at = None if event.late else now + worker.pause(age)
            also = (*also, "asked_at", "start_at")
    else:
        pending = answer.said is Said.PENDING or (payment.collection == Collection.IN_DOUBT and answer.provider_id)
        event = Event(Kind.REQUEST_PENDING if answer.said is Said.PENDING and pending else Kind.REQUEST_AMBIGUOUS)
        if under_way:
            payment.start_at = None
            payment.next_ask_at = _sooner(payment.next_ask_at, _first_poll(payment, asked_at, now))
            also = (*also, "start_at", "next_ask_at")
    journal.take(payment, event, cause, also=also)


def _first_poll(payment: Payment, asked_at: datetime, now: datetime) -> datetime:
    """Return the time of the first poll, or the time when an operator must decide because no poll is possible."""
    if not status_polling.ids_of(payment):
        return asked_at + status_polling.DAY
    return now + timedelta(seconds=status_polling.next_pause((now - asked_at).total_seconds()) or 0)


def _sooner(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else min(one, other)
