"""What the state of a payment means, and what an operator can do about it, in plain words."""

from payments.models import Payment, Refund

Collection, Status = Payment.Collection, Payment.Status

_COLLECTION = {
    Collection.DUE: "The payer is about to be asked for the money.",
    Collection.ASKING: "The payer is being asked for the money.",
    Collection.ASKED: "The payer's phone was asked; the answer is awaited.",
    Collection.IN_DOUBT: "Whether the payer was asked is in doubt: our request left, and its answer was lost.",
    Collection.UNRESOLVED: "The provider gave no answer for a day.",
    Collection.WITHDRAWN: "The payer was never asked: a newer stake took its place, or the player left.",
}
_REFUND = {
    Refund.State.ORDERED: "Its refund is ordered and leaves in a moment.",
    Refund.State.STARTED: "Its refund is being paid out.",
    Refund.State.IN_DOUBT: "Whether its refund was paid out is in doubt: our request left, and its answer was lost.",
    Refund.State.FAILED: "A refund was refused.",
}


def meaning(payment: Payment, refund: Refund | None, due: bool) -> str:
    """`refund`: the latest one; `due`: whether it is refund due now (`refunds.due()`)."""
    said = f" The provider says: {payment.reason.rstrip('.')}." if payment.reason else ""
    if payment.refunded_at is not None:
        return "The money is back with the payer."
    if payment.contested and payment.status == Status.SUCCESS:
        return "The provider said SUCCESS, then FAILED: it may have taken the money back."
    if refund is not None and refund.state != Refund.State.FAILED:
        return _REFUND.get(Refund.State(refund.state), "")
    refused = f" {_REFUND[Refund.State.FAILED]} {refund.reason}".rstrip() if refund is not None else ""
    if payment.contested:
        return f"The provider said FAILED, then SUCCESS: the money came too late, and is to be given back.{refused}"
    if due:
        return f"The money is to be given back.{refused}"
    if payment.status == Status.SUCCESS:
        return "Paid." if payment.collected_at else "Counted as paid at once, without any money."
    if payment.status == Status.FAILED:
        return f"Not paid.{said}"
    return _COLLECTION.get(Collection(payment.collection), "Somebody else collects it, and has not called back yet.")


def to_do(payment: Payment, refund: Refund | None, due: bool) -> str:
    """What needs a person; "" where nothing does."""
    if payment.refunded_at is not None:
        return ""
    if refund is not None and refund.state == Refund.State.IN_DOUBT:
        return (
            f"Look the payout up at the provider as {refund.reference}, then say under Refunds whether it went out. "
            "It is not repeated by itself."
        )
    if payment.contested and payment.status == Status.SUCCESS:
        return (
            f"Look it up at the provider as {payment.transaction_id}. Is the money with us: end the contest. Did it go "
            "back: record it as given back by hand."
        )
    if due and (refund is None or refund.state == Refund.State.FAILED):
        return "Refund it by payout, or record that it went back by another way."
    if payment.status != Status.PENDING:
        return ""
    if payment.collection == Collection.IN_DOUBT:
        return (
            "Nothing yet: the provider's notice, or a day's end, settles it. In a hurry, look it up at the provider as "
            f"{payment.transaction_id}, and say here whether it was paid."
        )
    if payment.collection == Collection.UNRESOLVED:
        return f"Look it up at the provider as {payment.transaction_id}, and say here whether it was paid."
    return ""
