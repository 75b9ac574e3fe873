"""The state of sending, as an operator needs it at night: what is wrong and what to do, then the figures."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from statistics import median
from typing import NamedTuple

import jwt
from django.core.cache import cache
from django.utils import timezone
from django.utils.safestring import SafeString

from sms import chart, conf, counts, pulse, tokens
from sms.models import SmsEvent, SmsMessage, SmsWorker, Status

logger = logging.getLogger("sms.overview")

SERIES = (
    ("delivered", "delivered"),
    ("sent", "sent, no report yet"),
    ("waiting", "waiting"),
    ("failed", "not delivered"),
    ("off", "not sent: SMS was off"),
)
_GROUPS: Mapping[str, str] = {
    Status.DELIVERED: "delivered",
    Status.SENT: "sent",
    Status.QUEUED: "waiting",
    Status.SENDING: "waiting",
    Status.DISABLED: "off",
}
_SAMPLE = 1000


class Banner(NamedTuple):
    """`level`: error or warning; `remedy`: what to do about it."""

    level: str
    text: str
    remedy: str


@dataclass
class KindRow:
    """One kind's last 24 hours."""

    kind: str
    groups: "Counter[str]" = field(default_factory=Counter)
    segments: int = 0
    cost: float = 0.0

    @property
    def total(self) -> int:
        return sum(self.groups.values())

    @property
    def cells(self) -> list[int]:
        return [self.groups[key] for key, _ in SERIES]


@dataclass
class Overview:
    banners: list[Banner]
    day_chart: SafeString
    month_chart: SafeString
    kinds: list[KindRow]
    total: KindRow
    facts: list[tuple[str, str]]
    kind: str
    complete: bool
    series: tuple[tuple[str, str], ...] = SERIES


class _Now(NamedTuple):
    """What was read at one moment."""

    config: conf.Config
    time: datetime
    workers: list[SmsWorker]
    waiting: int
    oldest: datetime | None
    last: list[SmsEvent]
    token: str
    failed_hour: int


def gather(kind: str | None = None) -> Overview:
    """All of the overview; kind: the charts of one kind alone. Some ten queries, however large the table."""
    now = timezone.now()
    counted = counts.current()
    day_start = now - timedelta(hours=24)
    recent = [cell for cell in counted.hours if cell.at + timedelta(hours=1) > day_start]
    kinds, total = _by_kind(recent)
    read = _read(now)
    return Overview(
        banners=list(_banners(read)),
        day_chart=_day_chart([cell for cell in recent if kind in (None, cell.kind)], now),
        month_chart=_month_chart(counted, kind, timezone.localdate(now)),
        kinds=kinds,
        total=total,
        facts=list(_facts(read, total)),
        kind=kind or "",
        complete=counted.complete,
    )


def banners() -> list[Banner]:
    return list(_banners(_read(timezone.now())))


def _group(status: str) -> str:
    return _GROUPS.get(status, "failed")


def _by_kind(cells: Iterable[counts.Cell]) -> tuple[list[KindRow], KindRow]:
    price = conf.current().segment_cost
    rows: dict[str, KindRow] = {}
    total = KindRow("all kinds")
    for cell in cells:
        for row in (rows.setdefault(cell.kind, KindRow(cell.kind)), total):
            row.groups[_group(cell.status)] += cell.messages
            # DMark charges for what it took.
            if cell.status in (Status.SENT, Status.DELIVERED, Status.UNDELIVERED):
                row.segments += cell.segments
                row.cost = row.segments * price
    return sorted(rows.values(), key=lambda row: -row.total), total


def _day_chart(cells: Iterable[counts.Cell], now: datetime) -> SafeString:
    hours: dict[datetime, Counter[str]] = {}
    for cell in cells:
        hours.setdefault(cell.at, Counter())[_group(cell.status)] += cell.messages
    this = timezone.localtime(now).replace(minute=0, second=0, microsecond=0)
    columns = []
    for back in range(24, -1, -1):
        hour = this - timedelta(hours=back)
        label = f"{hour:%H}" if hour.hour % 3 == 0 else ""
        columns.append(chart.Column(label, f"{hour:%a %H:00}", hours.get(hour, Counter())))
    return chart.bars("Texts an hour over the last day", columns, SERIES)


def _month_chart(counted: counts.Counts, kind: str | None, today: date) -> SafeString:
    days: dict[date, Counter[str]] = {}
    for cell in counted.hours:
        if kind in (None, cell.kind):
            days.setdefault(timezone.localdate(cell.at), Counter())[_group(cell.status)] += cell.messages
    for day in counted.days:
        if kind in (None, day.kind):
            days.setdefault(day.day, Counter())[_group(day.status)] += day.messages
    columns = []
    for back in range(counts.DAYS - 1, -1, -1):
        on = today - timedelta(days=back)
        label = f"{on.day}.{on.month}." if on.weekday() == 0 else ""
        columns.append(chart.Column(label, f"{on:%a} {on.day}.{on.month}.", days.get(on, Counter())))
    return chart.bars("Texts a day over the last month", columns, SERIES)


def _read(now: datetime) -> _Now:
    return _Now(
        config=conf.current(),
        time=now,
        workers=pulse.workers(now),
        waiting=pulse.waiting(),
        oldest=pulse.oldest_due(now),
        last=pulse.last_attempts(),
        token=_token_state(),
        failed_hour=SmsMessage.objects.filter(
            status__in=(Status.FAILED, Status.UNDELIVERED), created_at__gte=now - timedelta(hours=1)
        ).count(),
    )


def _token_state() -> str:
    """What the cache holds, in words; never the token."""
    try:
        token = cache.get(tokens.cache_key(conf.current()))
    # Each backend has errors of its own; the overview says that it is down, and the rest is still shown.
    except Exception as error:  # noqa: BLE001
        logger.warning("sms.cache_down (%s)", type(error).__name__, extra={"event": "sms.cache_down"})
        return "cache down"
    if not isinstance(token, str):
        return "none cached in this process or the shared cache; the next text fetches one"
    try:
        ends = float(jwt.decode(token, options={"verify_signature": False})["exp"])
        until = datetime.fromtimestamp(ends, tz=timezone.get_current_timezone())
        return f"cached; good until {until:%d.%m. %H:%M}"
    except (jwt.PyJWTError, KeyError, ValueError, TypeError, OverflowError, OSError):
        return "cached; it does not say how long it lives"


def _banners(read: _Now) -> Iterable[Banner]:
    config = read.config
    if not config.enabled:
        yield Banner(
            "error",
            "SMS is off: no text leaves.",
            "Set SMS_SERVICE_BASE_URL, SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD; then send it again.",
        )
        return
    late = (read.time - read.oldest).total_seconds() if read.oldest else 0.0
    if config.delivery == "worker" and not read.workers:
        yield Banner(
            "error" if read.waiting else "warning",
            f"No worker is running; {_amount(read.waiting)} waiting.",
            "Start manage.py sms_worker, and see that your service manager restarts it.",
        )
    trouble = _trouble(read)
    if trouble:
        yield trouble
    if config.delivery == "worker" and read.workers and late > pulse.LATE_SECONDS and not trouble:
        yield Banner(
            "warning",
            f"The queue is growing: {_amount(read.waiting)} waiting, the oldest for {span(late)}.",
            "Start one more manage.py sms_worker; any number may share the table.",
        )
    if config.delivery == "inline" and late > config.lease + config.longest_send:
        yield Banner(
            "warning",
            f"{_amount(read.waiting)} left behind by a process that died.",
            "Run manage.py sms_worker --once; a cron line does it by itself.",
        )
    if read.token == "cache down":  # noqa: S105
        yield Banner(
            "warning",
            "The cache does not answer: texts go out without a shared token and without the rate limit.",
            "Check REDIS_URL and the Redis server.",
        )
    if read.failed_hour:
        yield Banner(
            "warning",
            f"{read.failed_hour} of the last hour's texts failed or were not delivered.",
            "Open them with the filter 'failed' or 'undelivered'; each says why.",
        )


def _trouble(read: _Now) -> Banner | None:
    """What DMark's last answers, or a worker that has paused, say of credentials and provider."""
    kind, words = pulse.trouble(read.workers, read.last, read.time)
    if kind == "credentials":
        return Banner(
            "error",
            "DMark refuses the credentials: nothing is sent.",
            "Correct SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD and restart; what waits is sent then.",
        )
    if kind == "provider":
        return Banner(
            "error",
            f"DMark is in trouble: {words}",
            "The worker goes on by itself when DMark is back; inline, send again what failed. If it lasts, call DMark.",
        )
    return None


def _facts(read: _Now, total: KindRow) -> Iterable[tuple[str, str]]:
    ended = total.groups["delivered"] + total.groups["sent"] + total.groups["failed"]
    yield (
        "Delivered, of what has an end or is sent",
        f"{total.groups['delivered'] / ended:.1%}" if ended else "nothing yet",
    )
    sample = list(
        SmsMessage.objects.filter(created_at__gte=read.time - timedelta(hours=24), sent_at__isnull=False)
        .order_by("-created_at")
        .values_list("created_at", "sent_at", "delivered_at")[:_SAMPLE]
    )
    accept = [(sent - created).total_seconds() for created, sent, _ in sample if sent]
    deliver = [(delivered - sent).total_seconds() for _, sent, delivered in sample if sent and delivered]
    yield "Median from queued to taken by DMark", span(median(accept)) if accept else "nothing yet"
    yield "Median from taken to delivered", span(median(deliver)) if deliver else "no report yet"
    oldest = f", the oldest due for {span((read.time - read.oldest).total_seconds())}" if read.oldest else ""
    yield "Waiting now", f"{_amount(read.waiting)}{oldest}"
    yield (
        "Worker",
        "; ".join(_worker(worker, read.time) for worker in read.workers)
        or ("none" if read.config.delivery == "worker" else "not needed: sent inline"),
    )
    yield "Token", read.token
    yield "Held back by the rate limit", f"{pulse.throttled(read.time)} times"
    yield "SMS segments taken by DMark", str(total.segments)
    if read.config.segment_cost:
        yield "Cost", f"{total.cost:,.0f} UGX".replace(",", " ")


def _worker(worker: SmsWorker, now: datetime) -> str:
    state = f"paused: {worker.paused}" if worker.paused else f"sent {worker.sent}"
    return f"{worker.name}, up {span((now - worker.started_at).total_seconds())}, {state}"


def _amount(number: int) -> str:
    return f"{number} or more texts" if number >= pulse.MANY else f"{number} text{'' if number == 1 else 's'}"


def span(seconds: float) -> str:
    """A time span in words, as `0.3 s`, `42 s`, `5 min`, `3 h 10 min`, `2 days`."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} days"
