"""Creating a payment: what the game calls when a player stakes."""

from payments import clock, collection, journal
from payments.models import Payment, new_reference
from payments.statements import insert
from payments.states import Event, Kind


def create_payment(
    phone: str, amount: int, *, approved: bool, description: str = "PlayMatatu", fee: int = 0, replace: bool = True
) -> Payment:
    """Create a payment of `amount` whole UGX from `phone` (E.164), in the caller's transaction.

    `fee`: the commission in `amount`. `approved`: it counts as paid at once, without any money. Any other is requested
    after commit if we collect, with `description` on the payer's phone; else another party collects and sends a
    callback. `replace`: withdraw earlier requests of the phone that were not sent; False if the caller has.
    Raises ValueError if we collect and the number's network is unknown.
    """
    payment = Payment(phone=phone, amount=amount, fee=fee, created_at=clock.now(), version=1)
    with journal.writing():
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
