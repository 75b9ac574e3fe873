"""Functions for the app that takes payments, such as the game."""

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

from django.db import transaction
from django.db.models import Model, QuerySet

from payments import collection, database, journal, refunds, status_polling
from payments.models import Payment, Refund, new_reference
from payments.rules.states import Event, Kind, Place
from payments.statements import insert, new
from payments.worker import Loop, Outage

Row = TypeVar("Row", bound=Model)
# Number of threads that poll statuses. Each polls one payment at a time.
POLLERS = 4


def create_payment(
    phone: str, amount: int, *, approved: bool, description: str = "PlayMatatu", fee: int = 0, replace: bool = True
) -> Payment:
    """Create a payment in the caller's transaction. A payment request, if needed, is sent after the commit.

    `phone`: the payer's number in E.164. `amount`: whole UGX, including `fee`. `description`: the text in the payment
    prompt. `approved`: the payment counts as paid at once, without money. `replace`: withdraw the phone's unsent
    requests.

    Raises ValueError if a payment request is needed, but no configured provider serves the number.
    """
    payment = new(Payment, phone=phone, amount=amount, fee=fee, created_at=database.now(), version=1)
    with journal.writing(savepoint=False):
        if approved:
            payment.status, payment.settled_at = Payment.Status.SUCCESS, payment.created_at
        else:
            collection.order(payment, description)
            if payment.provider:
                payment.transaction_id = new_reference()
                if replace:
                    collection.lock_open(phone)
        insert([payment])
        event = Event(Kind.APPROVED if approved else Kind.REQUESTED)
        journal.record(payment, event, (), payment.created_at, journal.NO_CAUSE)
        collection.set_off(payment)
    return payment


# The app that uses the money (`game`) calls the next three functions inside a transaction, with the payment locked.


def activated(payment: Payment) -> None:
    """Record that the entry of a received payment was activated.

    The caller has locked the payment, the player and, for a public match, the stake level.
    """
    _moved(payment, Kind.ACTIVATED, Place.RECEIVED)


def held(payment: Payment) -> None:
    """Record that a received payment cannot be used. Its money is then due for refund."""
    _moved(payment, Kind.HELD, Place.RECEIVED)


def unused(payment: Payment) -> None:
    """Record that the entry of a payment was canceled or expired without a match. Its money is then due for refund."""
    journal.adopt_use(payment, Place.WAITING)
    _moved(payment, Kind.UNUSED, Place.WAITING)


def _moved(payment: Payment, kind: Kind, place: Place) -> None:
    # No savepoint: after an error the caller rolls back anyway. A savepoint would cost two statements.
    with transaction.atomic(savepoint=False):
        journal.ensure_adopted(payment)
        journal.take(payment, Event(kind), place=place)


def work_once() -> int:
    """Do the due work in this process, for cron. Return the number of handled requests, payouts and polls."""
    journal.adopt()
    return collection.start_due() + status_polling.poll_due() + refunds.pay_out_due()


def tell_again() -> tuple[int, int]:
    """Repeat failed signals of up to 10 payments and 10 payouts. Return how many succeeded and how many failed."""
    payments = Payment.objects.filter(signal_due_since__isnull=False)
    payouts = Refund.objects.filter(signal_due=True, state=Refund.State.SUCCEEDED)
    results = [*_tell_each(payments, journal.tell_again), *_tell_each(payouts, refunds.tell)]
    return results.count(True), results.count(False)


def _tell_each(rows: "QuerySet[Row]", tell: Callable[[Row], bool]) -> Iterator[bool]:
    # The order is random, so that rows whose receiver always fails do not block the others.
    for key in list(rows.order_by("?").values_list("pk", flat=True)[:10]):
        told: bool | None = False
        with journal.or_later(), journal.writing():
            row = database.not_locked(rows.filter(pk=key)).first()
            told = tell(row) if row is not None else None
        if told is not None:
            yield told


def worker_loops(poll: float) -> list[Loop]:
    """Return the threads that send payment requests and payouts, and poll statuses.

    `poll`: seconds between two searches for due work if no NOTIFY wakes the threads.
    """
    outage = Outage(logging.getLogger("payments"), "payments.database_lost", "payments.database_back")
    found: list[Loop] = []

    def add(work: Callable[[Callable[[], bool]], int]) -> None:
        def turn() -> float:
            return 0.0 if work(loop.stopping.is_set) else poll

        loop = Loop(f"payments-{len(found)}", turn, outage, "payments.turn_failed")
        found.append(loop)

    add(collection.start_due)
    add(refunds.pay_out_due)
    for _ in range(POLLERS):
        add(lambda stopping: status_polling.poll_due(stopping=stopping))
    return found
