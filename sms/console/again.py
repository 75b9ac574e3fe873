"""What sending again would do, before anybody orders it: how many, what it costs, what is left out and why."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet, Sum
from django.utils import timezone
from django.utils.dateparse import parse_datetime, parse_time

from sms import conf, outbox, suppression
from sms.console.filters import LONGEST_LIST
from sms.models import RESENDABLE, SmsMessage, Status
from sms.stats import failures

# So many in one go: while they are sent, or only queued, somebody waits for the page.
_INLINE, _QUEUED = 100, 2000


@dataclass(frozen=True)
class Preview:
    """`ids`: what goes now; `more`: what is left for another go; `left_out`: (how many, why)."""

    selected: int
    ids: list[int]
    more: int
    segments: int
    cost: float
    doubtful: int
    left_out: list[tuple[int, str]]
    sample: list[SmsMessage]

    @property
    def able(self) -> int:
        return len(self.ids)


def preview(rows: "QuerySet[SmsMessage]") -> Preview:
    """Of a list that is already narrowed down; at most LONGEST_LIST of it."""
    rows = SmsMessage.objects.filter(pk__in=list(rows.order_by().values_list("pk", flat=True)[:LONGEST_LIST]))
    able = outbox.resendable(rows).count()
    worth = outbox.worth_resending(rows)
    going = worth[: _INLINE if conf.current().delivery != "worker" else _QUEUED]
    chosen = SmsMessage.objects.filter(pk__in=going)
    segments = chosen.aggregate(segments=Sum("segments"))["segments"] or 0
    selected, ended = rows.count(), rows.filter(status__in=RESENDABLE)
    never = suppression.suppressed(ended).count()
    reasons = [
        (selected - ended.count(), "arrived, are still on their way, or were cancelled"),
        (never, "go to numbers that are never texted"),
        (ended.count() - never - able, "have no text any more, or a link that is over"),
        (able - len(worth), "are no longer worth sending, since what they tell of is over"),
    ]
    return Preview(
        selected=selected,
        ids=going,
        more=len(worth) - len(going),
        segments=segments,
        cost=segments * conf.current().segment_cost,
        doubtful=chosen.filter(status=Status.UNKNOWN).count(),
        left_out=[(count, why) for count, why in reasons if count > 0],
        sample=list(chosen.order_by("-created_at")[:10]),
    )


@dataclass(frozen=True)
class Order:
    """All that came to `status` for `reason`, of those queued since then."""

    status: str
    reason: str
    since: datetime

    def rows(self) -> "QuerySet[SmsMessage]":
        rows = SmsMessage.objects.filter(status=self.status, created_at__gte=self.since)
        return failures.with_reason(rows, self.reason)


def read_order(given: Mapping[str, str]) -> Order:
    """Raises ValueError with one sentence. Without a `since`: the last day's."""
    status = given.get("status", "")
    if status not in RESENDABLE:
        raise ValueError(f"Choose a status of texts that can be sent again: {_words(RESENDABLE)}.")
    return Order(status, given.get("reason", ""), _since(given.get("since", "").strip()))


def _since(words: str) -> datetime:
    """`14:05` is the last time that the clock showed it; else a date with a time. In the site's zone."""
    now = timezone.localtime()
    if not words:
        return now - failures.SPAN
    try:
        clock = parse_time(words) if len(words) <= len("14:05:00") else None
        moment = parse_datetime(words)
    except ValueError:
        clock = moment = None
    if clock is not None:
        moment = now.replace(hour=clock.hour, minute=clock.minute, second=clock.second, microsecond=0)
        return moment if moment <= now else moment - timedelta(days=1)
    if moment is None:
        raise ValueError("Write the time like 14:05, or 2026-03-14 14:05.")
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment


def _words(statuses: Iterable[Status]) -> str:
    return ", ".join(str(status.label) for status in statuses)
