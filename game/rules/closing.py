"""Find matches without a result, and close old ones: book them as paid from another account than the provider's."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from django.db.models import CharField, Exists, OuterRef, Q, QuerySet, Sum, Value
from django.db.models.functions import Cast, Concat

from game import clock
from game.models import Entry, Session
from payments import matches
from payments.models import MatchResult

_BATCH = 500


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
