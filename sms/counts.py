"""How many texts there were, by hour and by day. Days that are over are counted once and kept in `SmsDay`.

Counting a month of a large table anew at each look takes most of a second; the last two days take a fiftieth of that.
A text that is sent again after its day was counted stays counted with its former end.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, Max, Min, Sum
from django.db.models.functions import TruncHour
from django.utils import timezone

from sms.models import SmsDay, SmsMessage

# What DMark reports on later than that is given up; so the day before yesterday moves no more.
DAYS = 30
_BATCH = 1000


class Cell(NamedTuple):
    """Texts of one kind and status that were queued within the hour that begins at `at`."""

    at: datetime
    kind: str
    status: str
    messages: int
    segments: int


class Counts(NamedTuple):
    """`hours`: since yesterday's midnight; `days`: the days before, oldest first."""

    hours: list[Cell]
    days: list[SmsDay]


def current() -> Counts:
    """The counts of the last DAYS days. Three queries; one more when a day has ended."""
    keep_days()
    today = timezone.localdate()
    days = SmsDay.objects.filter(day__gt=today - timedelta(days=DAYS), day__lt=today - timedelta(days=1))
    return Counts(list(_hours(_midnight(today - timedelta(days=1)), None)), list(days.order_by("day")))


def keep_days(everything: bool = False) -> None:
    """Count the days that are over and not counted yet; with `everything`, also those older than DAYS."""
    today = timezone.localdate()
    last = SmsDay.objects.aggregate(last=Max("day"))["last"]
    if last is not None and last >= today - timedelta(days=2):
        return
    start = last + timedelta(days=1) if last else today - timedelta(days=DAYS)
    if last is None and everything:
        first = SmsMessage.objects.aggregate(first=Min("created_at"))["first"]
        start = min(start, timezone.localdate(first)) if first else start
    totals: Counter[tuple[date, str, str]] = Counter()
    segments: Counter[tuple[date, str, str]] = Counter()
    for cell in _hours(_midnight(start), _midnight(today - timedelta(days=1))):
        key = (timezone.localdate(cell.at), cell.kind, cell.status)
        totals[key] += cell.messages
        segments[key] += cell.segments
    SmsDay.objects.bulk_create(
        [
            SmsDay(day=day, kind=kind, status=status, messages=count, segments=segments[day, kind, status])
            for (day, kind, status), count in totals.items()
        ],
        batch_size=_BATCH,
        # Two who look at once count the same.
        ignore_conflicts=True,
    )


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime(day.year, day.month, day.day))  # noqa: DTZ001


def _hours(since: datetime, until: datetime | None) -> Iterable[Cell]:
    rows = SmsMessage.objects.filter(created_at__gte=since)
    if until is not None:
        rows = rows.filter(created_at__lt=until)
    grouped = rows.order_by().annotate(hour=TruncHour("created_at")).values_list("hour", "kind", "status")
    for hour, kind, status, messages, segments in grouped.annotate(Count("pk"), Sum("segments")):
        yield Cell(hour, kind, status, messages, segments)
