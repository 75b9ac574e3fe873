"""Explain the state of a payment and the operator's next step, in plain words."""

from collections.abc import Mapping
from datetime import timedelta

from django.utils import timezone

from payments import ledger
from payments.models import Payment, Refund
from payments.rules.states import Account, Kind

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
    Refund.State.RETURNED: "A refund came back.",
}
# Words for the state of a prize, keyed by the column `place` of a payment of the match.
_PRIZE = {"prize": "is not paid yet", "prize_transit": "is being paid out", "prize_paid": "was paid"}
_PRIZE_OF = {
    "": "The match is decided, and the prize",
    "won": "This player won the match, and the prize",
    "lost": "This player lost the match, and the winner's prize",
}


def is_over(refund: Refund | None) -> bool:
    """Return True if there was no payout yet, or if the latest one failed or was returned."""
    return refund is None or refund.state in (Refund.State.FAILED, Refund.State.RETURNED)


def meaning(payment: Payment, refund: Refund | None, due: bool, result: str = "") -> str:
    """Describe the state of a payment in words.

    `refund`: the payment's latest payout, or None. `due`: a refund is due now. `result`: "won", "lost" or "" (unknown).
    """
    said = f" The provider says: {payment.reason.rstrip('.')}." if payment.reason else ""
    if payment.refunded_at is not None:
        return "The money was refunded to the player."
    if payment.contested and payment.status == Status.SUCCESS:
        return "The provider reported success and then failure. Please check and decide."
    if payment.place == "lost":
        return "The money was paid out, and then the provider took it back."
    if payment.place in _PRIZE:
        return f"{_PRIZE_OF.get(result, _PRIZE_OF[''])} {_PRIZE[payment.place]}."
    if refund is not None and not is_over(refund):
        return _REFUND.get(Refund.State(refund.state), "")
    rejected = f" {_REFUND[Refund.State(refund.state)]} {refund.reason}".rstrip() if refund is not None else ""
    amount = f"{payment.amount:,} UGX"
    if payment.contested:
        return f"The provider reported failure and then success. {amount} is due back to the player.{rejected}"
    if due:
        return f"{amount} is due back to the player.{rejected}"
    if is_taken_back(payment):
        return "The provider took the money back."
    if payment.status == Status.SUCCESS:
        return "Paid." if payment.collected_at else "Approved without a payment (MOMO_AUTO_APPROVE)."
    if payment.status == Status.FAILED:
        return f"Not paid.{said}"
    return _COLLECTION.get(Collection(payment.collection), "Another system collects it and has not called back yet.")


def is_taken_back(payment: Payment) -> bool:
    """Return True if the provider took the money back and we have not paid it out."""
    return bool(payment.collected_at and payment.version and not payment.place)


def is_unanswered(payment: Payment) -> bool:
    """Return True if the last callback or notification arrived over a day ago and still waits for a poll's answer."""
    since = payment.answer_owed_since
    return since is not None and timezone.now() - since >= timedelta(days=1)


def to_do(payment: Payment, refund: Refund | None, due: bool) -> str:
    """Return the operator's next step for a payment, or "" if there is none."""
    if payment.other_since is not None and Payment.objects.filter(ledger.unknown_words(), pk=payment.pk).exists():
        step = "mark it paid or not paid" if payment.status == Status.PENDING else "record if the money was taken back"
        return (
            "The provider reports a status that we do not know; its word is in the journal. Look up "
            f"{payment.transaction_id} in the DMarkPay portal and {step}."
        )
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
            "dispute. If it is gone, record that the provider took it back."
        )
    if is_unanswered(payment):
        return (
            f"The provider sent a notification and then gave no status for a day. Look up {payment.transaction_id} in "
            "the DMarkPay portal. We ask for the status once a day."
        )
    if due and is_over(refund):
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


STATUSES: Mapping[str, str] = {Status.PENDING: "not paid yet", Status.SUCCESS: "paid", Status.FAILED: "not paid"}
ACCOUNTS: Mapping[Account, str] = {
    Account.PROVIDER: "at the provider",
    Account.RECEIVED: "received, not in a queue yet",
    Account.WAITING: "waiting for an opponent",
    Account.IN_MATCH: "in matches",
    Account.REFUND_DUE: "refund due",
    Account.REFUND_TRANSIT: "refund being paid out",
    Account.PRIZE: "prizes payable",
    Account.PRIZE_TRANSIT: "prizes being paid out",
    Account.CONTESTED: "disputed",
    Account.COMMISSION: "commission",
    Account.LOST: "lost",
    Account.ELSEWHERE: "from other accounts",
    Account.FEES: "fees of the provider",
    Account.WITHDRAWALS: "withdrawn by the owner",
    Account.OPENING: "before the ledger",
}
PLACES: Mapping[str, str] = {
    **{account.value: words for account, words in ACCOUNTS.items()},
    "refunded": "refunded",
    "prize_paid": "paid out as part of a prize",
}
EVENTS: Mapping[Kind, str] = {
    Kind.REQUESTED: "Stake placed, payment requested",
    Kind.APPROVED: "Approved without a payment",
    Kind.CLAIMED: "Payment request about to be sent",
    Kind.REQUEST_PENDING: "Payment prompt sent",
    Kind.REQUEST_AMBIGUOUS: "Payment request sent, outcome unknown",
    Kind.REQUEST_NOT_TAKEN: "Payment request not accepted",
    Kind.WITHDRAWN: "Payment request withdrawn before it was sent",
    Kind.GIVEN_UP: "Payment request given up after ten minutes",
    Kind.UNRESOLVED: "No answer for a day",
    Kind.WORD: "Payment status reported",
    Kind.POLLED: "Status polled, nothing changed",
    Kind.NOTIFIED: "Notification received",
    Kind.ACTIVATED: "Stake opened",
    Kind.HELD: "Paid too late to play",
    Kind.MATCHED: "Matched",
    Kind.UNUSED: "Ended without an opponent",
    Kind.ORDERED: "Payout ordered",
    Kind.ORDER_WITHDRAWN: "Payout order taken back",
    Kind.PAYOUT_CLAIMED: "Payout about to be sent",
    Kind.PAYOUT_SUCCESSFUL: "Paid out",
    Kind.PAYOUT_FAILED: "Payout failed",
    Kind.PAYOUT_NOT_TAKEN: "Payout not accepted",
    Kind.PAYOUT_AMBIGUOUS: "Payout sent, outcome unknown",
    Kind.LATE_SUCCESS: "Paid out after all",
    Kind.RETURNED: "Payout returned",
    Kind.BY_HAND: "Recorded as paid out by hand",
    Kind.SETTLED_PAID: "Marked as paid",
    Kind.SETTLED_UNPAID: "Marked as not paid",
    Kind.CONTEST_WITH_US: "Dispute closed: payment received",
    Kind.CONTEST_GONE: "Dispute closed: the money is gone",
    Kind.RESULT: "Result of the match recorded",
    Kind.WON: "Match won: prize payable",
    Kind.GIVEN_BACK: "Stake given back",
    Kind.HOUSE_PAID: "Share of the prize paid by the house",
    Kind.ADOPTED: "Taken over from before the journal",
}
PRIZES: Mapping[str, str] = {
    "": "no prize",
    "held": "held: a payment of the match is disputed or gone",
    "payable": "to be paid",
    "ordered": "payout ordered",
    "sending": "being paid out",
    "ambiguous": "payout sent, outcome unknown",
    "paid": "paid",
}
