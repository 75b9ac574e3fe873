"""Record the results of matches that the game server reports, and the decisions of operators about matches."""

from collections.abc import Iterator
from datetime import datetime
from typing import Literal, NamedTuple

from django.db.models import Exists, OuterRef, Q, QuerySet, Sum

from game import keys
from game.models import Entry, Session
from game.payment_use import due_back
from game.signals import refund_became_due
from payments import journal, matches
from payments.matches import DifferentResult as DifferentResult
from payments.models import MatchResult
from sms import clock

Outcome = Literal["win", "draw", "void"]
_BATCH = 500
# A condition for a subquery of results: the result belongs to the match of the outer query.
_OF_SESSION = Q(key=keys.in_query(keys.SESSION, "pk"))


def record_result(session: Session, outcome: Outcome, winner: Entry | None, *, by: str) -> bool:
    """Record the result of a match. Return False if the same result was already recorded.

    `winner`: only for a win. Raise DifferentResult if a different result was recorded before.
    """
    with journal.writing():
        winner_id = winner.payment_id if winner is not None else None
        recorded = matches.record(keys.result(session.pk), _payments(session), outcome, winner_id, by=by)
        if recorded and outcome != "win":
            _tell_refunds(session)
    return recorded


def give_back(session: Session, *, by: str, note: str) -> None:
    """Mark the stakes of a match for refund and queue messages about the refunds.

    A stake whose money the provider took back is left out. Raises matches.Refused, for example if the prize was paid.
    """
    with journal.writing():
        matches.give_back(keys.result(session.pk), _payments(session), by=by, note=note)
        _tell_refunds(session)


def _payments(session: Session) -> tuple[int, int]:
    first, second = sorted(entry.payment_id for entry in session.entries.all())
    return first, second


def _tell_refunds(session: Session) -> None:
    for entry in session.entries.select_related("player", "payment").order_by("payment_id"):
        if due_back(entry):
            answers = refund_became_due.send_robust(Entry, entry=entry)
            journal.raise_if_timed_out(answers)
            if any(isinstance(answer, Exception) for _receiver, answer in answers):
                journal.note_signal(entry.payment, failed=True)


class Closed(NamedTuple):
    """The result of closing one match. `refused`: the reason if the match could not be closed, otherwise ""."""

    session: Session
    ugx: int
    refused: str = ""


def without_result(sessions: "QuerySet[Session]") -> "QuerySet[Session]":
    """Return the matches among `sessions` that have expired and have no result."""
    return sessions.filter(~Exists(MatchResult.objects.filter(_OF_SESSION)), expires_at__lte=clock.now())


def to_give_back(sessions: "QuerySet[Session]") -> "QuerySet[Session]":
    """Return the matches among `sessions` that have expired without a result, and those whose prize is held."""
    held = MatchResult.objects.filter(_OF_SESSION, prize="held")
    return without_result(sessions) | sessions.filter(Exists(held))


def to_close(before: datetime) -> "QuerySet[Session]":
    """Return the expired matches without a result, created before `before`, whose money is still in use.

    A collected payment that is not in the journal yet (`version` 0) counts as in use.
    """
    held = Q(payment__place="in_use") | Q(payment__version=0, payment__collected_at__isnull=False)
    entries = Entry.objects.filter(held, session=OuterRef("pk"))
    return without_result(Session.objects.filter(Exists(entries), created_at__lt=before)).order_by("pk")


def ugx_of(sessions: "QuerySet[Session]") -> int:
    """Return the sum of the payments for these matches, in UGX. Payments approved without money count too."""
    return Entry.objects.filter(session__in=sessions.order_by()).aggregate(sum=Sum("payment__amount"))["sum"] or 0


def close_one(session: Session, *, by: str, note: str) -> int:
    """Record that a match was paid out, but not from our account at the provider. Return the amount in UGX.

    Raises matches.Refused.
    """
    return matches.close_elsewhere(keys.result(session.pk), _payments(session), by=by, note=note)


def close(sessions: "QuerySet[Session]", *, by: str, note: str) -> Iterator[Closed]:
    """Close the matches, each in its own transaction. A match that is already closed is not booked again."""
    last = 0
    while batch := list(sessions.filter(pk__gt=last).order_by("pk").prefetch_related("entries")[:_BATCH]):
        for session in batch:
            try:
                yield Closed(session, close_one(session, by=by, note=note))
            except matches.Refused as refusal:
                yield Closed(session, 0, str(refusal))
        last = batch[-1].pk
