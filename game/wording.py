"""What became of a stake, as an operator says it."""

from game.models import Entry

_WAITS = {
    Entry.Status.AWAITING_PAYMENT: "waits for its payment",
    Entry.Status.OPEN: "waits for an opponent",
    Entry.Status.MATCHED: "in a match",
}
ENDS = {
    "timed_out": "nobody joined in time",
    "payment_failed": "over: the payment failed",
    "replaced": "over: a newer stake took its place",
    "not_paid": "over: it was not paid",
    "refund_due": "over: the payment came too late to play",
    "session_expired": "the match is over",
    "left": "the player left the queue",
}


def state_words(entry: Entry) -> str:
    """As of now: what is past its time is over at once."""
    state = entry.state
    if state != Entry.Status.EXPIRED:
        return _WAITS[Entry.Status(state)]
    reason = entry.reason or ("session_expired" if entry.session_id else "timed_out")
    return ENDS.get(reason, f"over: {reason}")
