"""What failed within the last day, by status and reason, and whether it is over."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, Max, Q, QuerySet

from sms.models import UNSUCCESSFUL, SmsEvent, SmsMessage, Status
from sms.stats.pulse import MANY

SPAN = timedelta(days=1)
# More reasons than that at once are one: something else is wrong.
_MOST = 50
_TAKEN = (Status.SENT, Status.DELIVERED, Status.UNDELIVERED)
# Among so many of the newest is the newest success looked for.
_RECENT = 200

# What differs from text to text of one reason: numbers of theirs, and seconds to wait.
_OWN = re.compile(r"\d{5,}|\d+(?= s\b)")
ANY = "…"


@dataclass
class Group:
    """Failures of one status and reason; `over`: the same kind of request has succeeded since the newest."""

    status: str
    reason: str
    count: int = 0
    last: datetime | None = None
    over: bool = True
    kinds: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        return self.reason or str(Status(self.status).label)

    @property
    def counted(self) -> str:
        return f"{self.count}{' or more' if self.count >= MANY else ''}"


class _Part(NamedTuple):
    """One status, error and kind as counted; `newest`: the id of the last one."""

    status: str
    error: str
    kind: str
    texts: int
    newest: int
    queued_at: datetime


def reason(error: str) -> str:
    """The error without what is one text's own."""
    return _OWN.sub(ANY, error)


def with_reason(rows: "QuerySet[SmsMessage]", wanted: str) -> "QuerySet[SmsMessage]":
    """Those of `rows` whose error has that reason."""
    if ANY not in wanted:
        return rows.filter(error=wanted)
    pieces = [re.escape(piece) for piece in wanted.split(ANY)]
    return rows.filter(error__startswith=wanted.partition(ANY)[0], error__regex=f"^{'.*'.join(pieces)}$")


def groups(now: datetime) -> list[Group]:
    """What is not over first, then the largest. A handful of queries, however much failed."""
    parts = _count(now)
    ends = _ends(parts)
    own_fault = {part.kind for part in parts if part.newest in ends and _of_the_text(part, ends[part.newest])}
    since = now - SPAN
    taken, _ = _newest_success(since, Q())
    by_kind = {kind: _newest_success(since, Q(kind=kind)) for kind in own_fault}
    found: dict[tuple[str, str], Group] = {}
    for part in parts:
        key = (part.status, reason(part.error))
        group = found.setdefault(key, Group(*key))
        event = ends.get(part.newest)
        at = event.at if event else part.queued_at
        healed = taken
        if event and part.kind in by_kind and _of_the_text(part, event):
            accepted, delivered = by_kind[part.kind]
            healed = delivered if part.status == Status.UNDELIVERED else accepted
        group.count += part.texts
        group.last = max(group.last or at, at)
        group.over = group.over and healed is not None and healed > at
        group.kinds.append(part.kind)
    return sorted(found.values(), key=lambda group: (group.over, -group.count))


def _count(now: datetime) -> list[_Part]:
    recent = SmsMessage.objects.filter(status__in=UNSUCCESSFUL, created_at__gte=now - SPAN)
    newest = recent.order_by("-created_at").values("pk")[:MANY]
    grouped = SmsMessage.objects.filter(pk__in=newest).order_by().values_list("status", "error", "kind")
    counted = grouped.annotate(texts=Count("pk"), newest=Max("pk"), queued_at=Max("created_at"))
    return [_Part(*row) for row in counted.order_by("-texts")[:_MOST]]


def _ends(parts: Iterable[_Part]) -> dict[int, SmsEvent]:
    """By text: the last thing that happened to it."""
    newest = [part.newest for part in parts]
    last = SmsEvent.objects.filter(message_id__in=newest).order_by().values("message_id").annotate(last=Max("pk"))
    return {event.message_id: event for event in SmsEvent.objects.filter(pk__in=[row["last"] for row in last])}


def _of_the_text(part: _Part, event: SmsEvent) -> bool:
    """Whether it says something of this kind of text, and not of DMark, the account or the network between."""
    if part.status == Status.UNDELIVERED:
        return True
    refused = event.step == "send" and 400 <= (event.http_status or 0) < 500
    return part.status == Status.FAILED and refused and event.http_status not in (401, 403, 429) and not event.trouble


def _newest_success(since: datetime, which: Q) -> tuple[datetime | None, datetime | None]:
    """When DMark last took one of those, and when one last arrived."""
    rows = SmsMessage.objects.filter(which, status__in=_TAKEN, created_at__gte=since).order_by("-created_at")
    times = list(rows.values_list("sent_at", "delivered_at")[:_RECENT])
    return _latest(sent for sent, _ in times), _latest(delivered for _, delivered in times)


def _latest(times: Iterable[datetime | None]) -> datetime | None:
    return max((at for at in times if at), default=None)
