"""The meaning of a payment's state, and the operator's next step, in plain words."""

from payments.models import Payment, Refund

Collection, Status = Payment.Collection, Payment.Status

_COLLECTION = {
    Collection.DUE: "The payment request is about to be sent.",
    Collection.ASKING: "The payment request is being sent.",
    Collection.ASKED: "Payment requested, not yet answered.",
    Collection.IN_DOUBT: "We don't know if the player was asked: we sent the request but got no reply.",
    Collection.UNRESOLVED: "The provider has not answered for a day.",
    Collection.WITHDRAWN: "The player was never asked: a newer stake replaced this one, or the player left.",
}
_REFUND = {
    Refund.State.ORDERED: "The refund is about to be paid out.",
    Refund.State.STARTED: "The refund is being paid out.",
    Refund.State.IN_DOUBT: "We don't know if the refund was paid out: we sent the payout but got no reply.",
    Refund.State.FAILED: "A refund was rejected.",
}


def meaning(payment: Payment, refund: Refund | None, due: bool) -> str:
    """Describe the state. `refund`: the latest one. `due`: whether the money is due back now."""
    said = f" The provider says: {payment.reason.rstrip('.')}." if payment.reason else ""
    if payment.refunded_at is not None:
        return "The money was refunded to the player."
    if payment.contested and payment.status == Status.SUCCESS:
        return "The provider reported success and then failure. Please check and decide."
    if refund is not None and refund.state != Refund.State.FAILED:
        return _REFUND.get(Refund.State(refund.state), "")
    rejected = f" {_REFUND[Refund.State.FAILED]} {refund.reason}".rstrip() if refund is not None else ""
    amount = f"{payment.amount:,} UGX"
    if payment.contested:
        return f"The provider reported failure and then success. {amount} is due back to the player.{rejected}"
    if due:
        return f"{amount} is due back to the player.{rejected}"
    if payment.status == Status.SUCCESS:
        return "Paid." if payment.collected_at else "Approved without a payment (MOMO_AUTO_APPROVE)."
    if payment.status == Status.FAILED:
        return f"Not paid.{said}"
    return _COLLECTION.get(Collection(payment.collection), "Another system collects it and has not called back yet.")


def to_do(payment: Payment, refund: Refund | None, due: bool) -> str:
    """Return the operator's next step, "" if there is none."""
    if payment.refunded_at is not None:
        return ""
    if refund is not None and refund.state == Refund.State.IN_DOUBT:
        return (
            f"Look up the payout {refund.reference} in the DMarkPay portal and mark it paid out or not paid out. It is "
            "not repeated automatically."
        )
    if payment.contested and payment.status == Status.SUCCESS:
        return (
            f"Look up {payment.transaction_id} in the DMarkPay portal. If the money is in our account, close the "
            "dispute. If it was returned, record a manual refund."
        )
    if due and (refund is None or refund.state == Refund.State.FAILED):
        return "Pay it out now, or record a refund made another way."
    if payment.status != Status.PENDING:
        return ""
    if payment.collection == Collection.IN_DOUBT:
        return (
            f"You can wait: it usually resolves within a day. If it is urgent, look up {payment.transaction_id} in the "
            "DMarkPay portal and mark it paid or not paid."
        )
    if payment.collection == Collection.UNRESOLVED:
        return f"Look up {payment.transaction_id} in the DMarkPay portal and mark it paid or not paid."
    return ""
