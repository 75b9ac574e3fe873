"""Record the results of matches, which the game server reports or an operator enters."""

from typing import Literal

from game.models import Entry, Session
from game.money import due_back
from game.signals import refund_became_due
from payments import journal, matches
from payments.matches import DifferentResult as DifferentResult

Outcome = Literal["win", "draw", "void"]


def record_result(session: Session, outcome: Outcome, winner: Entry | None, *, by: str, note: str = "") -> bool:
    """Record the result of a match. After a draw or void, queue messages about the refunds.

    `winner`: only for a win. Return True if the result is new, and False if the same result was recorded before. Raise
    DifferentResult if a different result was recorded before.
    """
    entries = list(session.entries.select_related("player", "payment").order_by("payment_id"))
    first, second = (entry.payment_id for entry in entries)
    with journal.writing():
        winner_id = winner.payment_id if winner is not None else None
        recorded = matches.record(f"session:{session.pk}", (first, second), outcome, winner_id, by=by, note=note)
        if recorded and outcome != "win":
            for entry in entries:
                entry.payment.refresh_from_db()
                if due_back(entry):
                    journal.raise_if_timed_out(refund_became_due.send_robust(Entry, entry=entry))
    return recorded
