"""The state of sending, as an operator needs it at night: what is wrong, then the figures and the charts."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from statistics import median

from django.utils import timezone
from django.utils.safestring import SafeString

from sms import clicks, clock, conf
from sms.console import chart
from sms.console.banners import Banner, Now, raised, read
from sms.console.rows import FailureRow, NetworkRow, failure_row, network_rows, waits
from sms.models import SmsPause, SmsWorker, Status
from sms.stats import counts, networks, pulse
from sms.stats.wording import amount, span

SERIES = (
    ("delivered", "delivered"),
    ("sent", "sent, no report yet"),
    ("waiting", "waiting"),
    ("unknown", "perhaps sent"),
    ("failed", "not delivered"),
    ("off", "not sent: off or cancelled"),
)
_GROUPS: Mapping[str, str] = {
    Status.DELIVERED: "delivered",
    Status.SENT: "sent",
    Status.QUEUED: "waiting",
    Status.SENDING: "waiting",
    Status.UNKNOWN: "unknown",
    Status.DISABLED: "off",
    Status.CANCELLED: "off",
}
_SAMPLE = 1000


@dataclass
class KindRow:
    """One kind's last 24 hours."""

    kind: str
    groups: "Counter[str]" = field(default_factory=Counter)
    segments: int = 0
    cost: float = 0.0
    taken: int = 0
    opened_texts: int = 0

    @property
    def total(self) -> int:
        return sum(self.groups.values())

    @property
    def opened(self) -> str:
        """The share of those that DMark took whose link was opened; "" where nobody looks."""
        if not self.opened_texts and self.kind not in clicks.watched():
            return ""
        return f"{self.opened_texts / self.taken:.0%}" if self.taken else "none yet"

    @property
    def cells(self) -> list[int]:
        return [self.groups[key] for key, _ in SERIES]


@dataclass
class Overview:
    banners: list[Banner]
    holds: list[SmsPause]
    day_chart: SafeString
    month_chart: SafeString
    kinds: list[KindRow]
    total: KindRow
    facts: list[tuple[str, str]]
    failures: list[FailureRow]
    networks: list[NetworkRow]
    sampled: int
    kind: str
    complete: bool
    series: tuple[tuple[str, str], ...] = SERIES


def gather(kind: str | None = None) -> Overview:
    """All of the overview; kind: the charts of one kind alone. Some twenty queries, however large the table."""
    now = clock.now()
    counted = counts.current()
    day_start = now - timedelta(hours=24)
    recent = [cell for cell in counted.hours if cell.at + timedelta(hours=1) > day_start]
    kinds, total = _by_kind(recent)
    reading, sample = read(now), networks.sample(day_start, _SAMPLE)
    return Overview(
        banners=raised(reading),
        holds=reading.sending.holds,
        day_chart=_day_chart([cell for cell in recent if kind in (None, cell.kind)], now),
        month_chart=_month_chart(counted, kind, timezone.localdate(now)),
        kinds=kinds,
        total=total,
        facts=list(_facts(reading, total, sample)),
        failures=[failure_row(group) for group in reading.failed],
        networks=network_rows(sample),
        sampled=len(sample),
        kind=kind or "",
        complete=counted.complete,
    )


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
                row.taken += cell.messages
                row.opened_texts += cell.opened
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


def _facts(reading: Now, total: KindRow, sample: list[networks.Sample]) -> Iterable[tuple[str, str]]:
    sending = reading.sending
    ended = total.groups["delivered"] + total.groups["sent"] + total.groups["failed"] + total.groups["unknown"]
    yield (
        "Delivered, of what has an end or is sent",
        f"{total.groups['delivered'] / ended:.1%}" if ended else "nothing yet",
    )
    accept, deliver = waits(sample)
    yield "Median from queued to taken by DMark", span(median(accept)) if accept else "nothing yet"
    yield "Median from taken to delivered", span(median(deliver)) if deliver else "no report yet"
    oldest = f", the oldest due for {span(sending.late)}" if sending.oldest else ""
    yield "Waiting now", f"{amount(sending.waiting)}{oldest}"
    yield (
        "Worker",
        "; ".join(_worker(worker, sending.time) for worker in sending.workers)
        or ("none" if sending.config.delivery == "worker" else "not needed: sent inline"),
    )
    yield "Token", reading.token
    yield "Held back by the rate limit", f"{pulse.throttled(sending.time)} times"
    yield "SMS segments taken by DMark", str(total.segments)
    if sending.config.segment_cost:
        yield "Cost", f"{total.cost:,.0f} UGX".replace(",", " ")


def _worker(worker: SmsWorker, now: datetime) -> str:
    state = f"paused: {worker.paused}" if worker.paused else f"sent {worker.sent}"
    flight = ""
    if worker.in_flight and worker.longest_since:
        longest = span((now - worker.longest_since).total_seconds())
        flight = f", {worker.in_flight} in flight, the longest for {longest} ({worker.longest_step})"
    return f"{worker.name}, up {span((now - worker.started_at).total_seconds())}, {state}{flight}"
