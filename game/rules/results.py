"""Record the results of matches, which the game server reports or an operator enters.

Old matches without a result are closed: they are booked as paid from another account than the provider's.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Literal, NamedTuple

from django.db.models import CharField, Exists, OuterRef, Q, QuerySet, Sum, Value
from django.db.models.functions import Cast, Concat

from game.models import Entry, Session
from game.money import due_back
from game.signals import refund_became_due
from payments import journal, matches
from payments.matches import DifferentResult as DifferentResult
from payments.models import MatchResult
from sms import clock

Outcome = Literal["win", "draw", "void"]
_BATCH = 500


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


class Closed(NamedTuple):
    """The result for one match. `refused`: the reason if the match was not closed, otherwise ""."""

    session: Session
    ugx: int
    refused: str = ""


def without_result(sessions: "QuerySet[Session]") -> "QuerySet[Session]":
    """Return the matches among `sessions` that have expired and have no result."""
    key = Concat(Value("session:"), Cast(OuterRef("pk"), CharField()))
    results = MatchResult.objects.filter(key=key)
    return sessions.filter(~Exists(results), expires_at__lte=clock.now())


def to_close(before: datetime) -> "QuerySet[Session]":
    """Return the matches created before `before` that are over, have no result and hold money.

    A payment written by a release without a journal (`version` 0) holds money if it was collected.
    """
    held = Q(payment__place="in_use") | Q(payment__version=0, payment__collected_at__isnull=False)
    entries = Entry.objects.filter(held, session=OuterRef("pk"))
    return without_result(Session.objects.filter(Exists(entries), created_at__lt=before)).order_by("pk")


def ugx_of(sessions: "QuerySet[Session]") -> int:
    """Return the total UGX that the players of these matches have paid."""
    return Entry.objects.filter(session__in=sessions.order_by()).aggregate(sum=Sum("payment__amount"))["sum"] or 0


def close_one(session: Session, *, by: str, note: str) -> int:
    """Book one match as paid from another account. Return the UGX that were booked. Raises matches.Refused."""
    ids = sorted(entry.payment_id for entry in session.entries.all())
    return matches.close_elsewhere(f"session:{session.pk}", (ids[0], ids[1]), by=by, note=note)


def close(sessions: "QuerySet[Session]", *, by: str, note: str) -> Iterator[Closed]:
    """Book the matches as paid from another account, each in its own transaction. Yield the result for each.

    The function can be repeated: matches that were closed before are not booked again.
    """
    last = 0
    while batch := list(sessions.filter(pk__gt=last).order_by("pk").prefetch_related("entries")[:_BATCH]):
        for session in batch:
            try:
                yield Closed(session, close_one(session, by=by, note=note))
            except matches.Refused as refusal:
                yield Closed(session, 0, str(refusal))
        last = batch[-1].pk
