"""Create payments, for the app that takes them."""

from payments import clock, collection, journal
from payments.models import Payment, new_reference
from payments.statements import insert
from payments.states import Event, Kind


def create_payment(
    phone: str, amount: int, *, approved: bool, description: str = "PlayMatatu", fee: int = 0, replace: bool = True
) -> Payment:
    """Create a payment in the caller's transaction.

    `phone`: the payer's number in E.164. `amount`: whole UGX. `fee`: the commission that is included in the amount.

    `approved`: the payment counts as paid at once, without money. Otherwise, if a provider is configured, a payment
    request is sent to it after the commit, and the phone shows `description`. If none is configured, a third party
    collects the payment and sends a callback.

    `replace`: withdraw earlier requests of this phone that were not sent. Pass False if this was already done.

    Raises ValueError if a provider is configured and the network of the number is unknown.
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
