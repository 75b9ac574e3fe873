"""Count messages by hour and by day.

The counts of each day before yesterday are stored in `SmsDay`, because counting a month of a large table is slow. A
later resend does not change the stored counts.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, Max, Min, Sum
from django.db.models.functions import TruncHour
from django.utils import timezone

from sms.models import SmsDay, SmsMessage, Status

# Number of days in the admin's chart of messages.
DAYS = 30
_BATCH = 1000
# The page counts at most this many missing days, so that it loads fast. The worker counts the other days.
_DAYS_A_LOOK = 2


class Hour(NamedTuple):
    """Counts of messages of one kind and status, queued in one hour. `opened`: messages whose link was clicked."""

    at: datetime
    kind: str
    status: str
    messages: int
    segments: int
    opened: int


class Counts(NamedTuple):
    """Counts of the messages queued in the last 30 days (DAYS).

    `hours`: since yesterday at 00:00. `days`: earlier days, oldest first. `complete`: True if no day is missing.
    """

    hours: list[Hour]
    days: list[SmsDay]
    complete: bool


def current() -> Counts:
    """Return the counts of the last 30 days (DAYS), after counting and storing at most two missing days."""
    complete = keep_days(_DAYS_A_LOOK)
    today = timezone.localdate()
    days = SmsDay.objects.filter(
        day__gt=today - timedelta(days=DAYS), day__lt=today - timedelta(days=1), messages__gt=0
    )
    return Counts(list(_hours(_midnight(today - timedelta(days=1)), None)), list(days.order_by("day")), complete)


def keep_days(limit: int | None = None, *, everything: bool = False) -> bool:
    """Store the missing daily counts up to the day before yesterday. Return True if that day is reached.

    `limit`: the largest number of days to count. `everything`: if no day is stored yet, start with the oldest message
    instead of DAYS days ago.
    """
    today = timezone.localdate()
    last = SmsDay.objects.aggregate(last=Max("day"))["last"]
    if last is not None and last >= today - timedelta(days=2):
        return True
    if last is not None:
        start = last + timedelta(days=1)
    else:
        first = SmsMessage.objects.aggregate(first=Min("created_at"))["first"]
        if first is None:
            return True
        start = timezone.localdate(first)
        if not everything:
            start = max(start, today - timedelta(days=DAYS))
    end = today - timedelta(days=1)
    if limit is not None:
        end = min(end, start + timedelta(days=limit))
    if start < end:
        _keep(start, end)
    return end == today - timedelta(days=1)


def _keep(start: date, end: date) -> None:
    # The last day gets a row even if it has no messages, because the newest row marks the last counted day.
    totals: Counter[tuple[date, str, str]] = Counter({(end - timedelta(days=1), "", Status.QUEUED.value): 0})
    segments: Counter[tuple[date, str, str]] = Counter()
    for cell in _hours(_midnight(start), _midnight(end)):
        key = (timezone.localdate(cell.at), cell.kind, cell.status)
        totals[key] += cell.messages
        segments[key] += cell.segments
    SmsDay.objects.bulk_create(
        [
            SmsDay(day=day, kind=kind, status=status, messages=count, segments=segments[day, kind, status])
            for (day, kind, status), count in totals.items()
        ],
        batch_size=_BATCH,
        # Concurrent processes compute the same rows, so a row that already exists is correct.
        ignore_conflicts=True,
    )


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime(day.year, day.month, day.day))  # noqa: DTZ001


def _hours(since: datetime, until: datetime | None) -> Iterable[Hour]:
    rows = SmsMessage.objects.filter(created_at__gte=since)
    if until is not None:
        rows = rows.filter(created_at__lt=until)
    grouped = rows.order_by().annotate(hour=TruncHour("created_at")).values_list("hour", "kind", "status")
    counted = grouped.annotate(Count("pk"), Sum("segments"), Count("opened_at"))
    for hour, kind, status, messages, segments, opened in counted:
        yield Hour(hour, kind, status, messages, segments, opened)
