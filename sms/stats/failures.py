"""Group the failed messages of the last day by status and reason. Find the groups that operators must act on."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, Max, Q, QuerySet

from sms.formats import MANY, counted
from sms.models import UNSUCCESSFUL, SmsDismissal, SmsEvent, SmsMessage, Status

SPAN = timedelta(days=1)
# At most 50 combinations of status, error and kind are read. The most frequent ones come first.
_MOST = 50
_ACCEPTED = (Status.SENT, Status.DELIVERED, Status.UNDELIVERED)
# The newest success is looked up among the newest 200 messages that DMark accepted.
_RECENT = 200

# Matches ids and numbers of seconds, which differ between errors that have the same reason.
_OWN = re.compile(r"\d{5,}|\d+(?= s\b)")
ANY = "…"


@dataclass
class Group:
    """Failed messages with the same status and reason.

    `over`: a later success shows that the cause is gone. `open`: number of messages that have not expired.
    """

    status: str
    reason: str
    count: int = 0
    last: datetime | None = None
    over: bool = True
    open: int = 0
    dismissed: bool = False
    kinds: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        return self.reason or str(Status(self.status).label)

    @property
    def counted(self) -> str:
        return counted(self.count)

    @property
    def kind_names(self) -> str:
        return ", ".join(sorted({kind or "plain" for kind in self.kinds}))

    @property
    def needs_action(self) -> bool:
        return not self.dismissed and (self.open > 0 or not self.over)


class _Part(NamedTuple):
    """The failed messages that have the same status, error and kind.

    `open`: number of messages that have not expired. `newest`, `queued_at`: id and queue time of the newest message.
    """

    status: str
    error: str
    kind: str
    texts: int
    open: int
    newest: int
    queued_at: datetime


def reason(error: str) -> str:
    """Return the reason in an error text: the text with `…` in place of ids and numbers of seconds."""
    return _OWN.sub(ANY, error)


def with_reason(rows: "QuerySet[SmsMessage]", wanted: str) -> "QuerySet[SmsMessage]":
    """Filter `rows` to messages whose error text has the reason `wanted`."""
    if ANY not in wanted:
        return rows.filter(error=wanted)
    pieces = [re.escape(piece) for piece in wanted.split(ANY)]
    return rows.filter(error__startswith=wanted.partition(ANY)[0], error__regex=f"^{'.*'.join(pieces)}$")


def groups(now: datetime) -> list[Group]:
    """Return the groups of failures of the last day, first those that need an operator's action."""
    parts = _count(now)
    rows = SmsDismissal.objects.order_by("at").values_list("status", "reason", "at") if parts else []
    dismissals = {(status, reason): at for status, reason, at in rows}
    newest_queued: dict[tuple[str, str], datetime] = {}
    ends = _ends(parts)
    own_fault = {part.kind for part in parts if part.newest in ends and _of_the_message(part, ends[part.newest])}
    since = now - SPAN
    accepted_any, _ = _newest_success(since, Q())
    by_kind = {kind: _newest_success(since, Q(kind=kind)) for kind in own_fault}
    found: dict[tuple[str, str], Group] = {}
    for part in parts:
        key = (part.status, reason(part.error))
        group = found.setdefault(key, Group(*key))
        event = ends.get(part.newest)
        at = event.at if event else part.queued_at
        # If DMark has accepted any message since the failure, the cause is usually gone. If the failed message itself
        # was the cause, only a newer success of the same kind of message counts.
        healed = accepted_any
        if event and part.kind in by_kind and _of_the_message(part, event):
            accepted, delivered = by_kind[part.kind]
            healed = delivered if part.status == Status.UNDELIVERED else accepted
        group.count += part.texts
        group.open += part.open
        newest_queued[key] = max(newest_queued.get(key, part.queued_at), part.queued_at)
        group.last = max(group.last or at, at)
        group.over = group.over and healed is not None and healed > at
        group.kinds.append(part.kind)
    for key, group in found.items():
        group.dismissed = key in dismissals and newest_queued[key] <= dismissals[key]
    return sorted(found.values(), key=lambda group: (not group.needs_action, group.over, -group.count))


def dismiss(status: str, reason: str, actor: str, now: datetime) -> None:
    """Hide the banner of a group of failures until a message queued later fails with the same status and reason."""
    SmsDismissal.objects.filter(at__lt=now - SPAN).delete()
    SmsDismissal.objects.filter(status=status, reason=reason).delete()
    SmsDismissal.objects.create(status=status, reason=reason, actor=actor[:150], at=now)


def _count(now: datetime) -> list[_Part]:
    recent = SmsMessage.objects.filter(status__in=UNSUCCESSFUL, created_at__gte=now - SPAN)
    newest = recent.order_by("-created_at").values("pk")[:MANY]
    grouped = SmsMessage.objects.filter(pk__in=newest).order_by().values_list("status", "error", "kind")
    counts = grouped.annotate(
        texts=Count("pk"), open=Count("pk", filter=Q(expires_at__gt=now)), newest=Max("pk"), queued_at=Max("created_at")
    )
    return [_Part(*row) for row in counts.order_by("-texts")[:_MOST]]


def _ends(parts: Iterable[_Part]) -> dict[int, SmsEvent]:
    """Find the newest message of each `_Part`. Return the last event of each such message, by message id."""
    newest = [part.newest for part in parts]
    last = SmsEvent.objects.filter(message_id__in=newest).order_by().values("message_id").annotate(last=Max("pk"))
    return {event.message_id: event for event in SmsEvent.objects.filter(pk__in=[row["last"] for row in last])}


def _of_the_message(part: _Part, event: SmsEvent) -> bool:
    """Return True if the cause of a failure is the message itself, and not DMark, the account or the connection."""
    if part.status == Status.UNDELIVERED:
        return True
    refused = event.step == "send" and 400 <= (event.http_status or 0) < 500
    return part.status == Status.FAILED and refused and event.http_status not in (401, 403, 429) and not event.trouble


def _newest_success(since: datetime, which: Q) -> tuple[datetime | None, datetime | None]:
    """Return the latest `sent_at` and the latest `delivered_at` among the newest messages that match `which`.

    `since`: earliest queue time.
    """
    rows = SmsMessage.objects.filter(which, status__in=_ACCEPTED, created_at__gte=since).order_by("-created_at")
    times = list(rows.values_list("sent_at", "delivered_at")[:_RECENT])
    return _latest(sent for sent, _ in times), _latest(delivered for _, delivered in times)


def _latest(times: Iterable[datetime | None]) -> datetime | None:
    return max((at for at in times if at), default=None)
