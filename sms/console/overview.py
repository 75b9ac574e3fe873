"""The overview of sending: banners, charts and tables for the last day and the last month."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from statistics import median
from typing import NamedTuple

from django.utils import timezone
from django.utils.safestring import SafeString

from sms import clicks, clock, conf
from sms.conf import PROVIDER
from sms.console import chart
from sms.console.banners import Banner, Snapshot, raised, read
from sms.formats import counted, span, ugx
from sms.models import UNSUCCESSFUL, SmsPause, SmsWorker, Status
from sms.stats import by_network, status, volume
from sms.stats.failures import Group

SERIES = (
    ("delivered", "delivered"),
    ("sent", "sent, no report yet"),
    ("waiting", "waiting"),
    ("unknown", "status unknown"),
    ("failed", "not delivered"),
    ("off", "not sent (SMS off or cancelled)"),
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
    """The last day's messages of one kind, or of all kinds in the totals row.

    `groups`: number of messages by the key of a chart series. `cost`: in UGX.
    """

    kind: str
    groups: "Counter[str]" = field(default_factory=Counter)
    segments: int = 0
    cost: float = 0.0
    accepted: int = 0
    clicked_texts: int = 0

    @property
    def total(self) -> int:
        return sum(self.groups.values())

    @property
    def clicked(self) -> str:
        """The percentage of accepted messages whose link was clicked, as shown in the table."""
        if not self.clicked_texts and self.kind not in clicks.watched():
            return ""
        return f"{self.clicked_texts / self.accepted:.0%}" if self.accepted else "none yet"

    @property
    def cells(self) -> list[tuple[str, int]]:
        return [(name, self.groups[key]) for key, name in SERIES]


class NetworkRow(NamedTuple):
    name: str
    texts: int
    delivered: str
    accept: str
    deliver: str


@dataclass
class Overview:
    banners: list[Banner]
    pauses: list[SmsPause]
    day_chart: SafeString
    month_chart: SafeString
    kinds: list[KindRow]
    total: KindRow
    facts: list[tuple[str, str]]
    failures: list[Group]
    networks: list[NetworkRow]
    sampled: int
    kind: str
    complete: bool
    series: tuple[tuple[str, str], ...] = SERIES


def gather(kind: str | None = None) -> Overview:
    """Collect the data of the overview. `kind`: the charts count only this kind of message. None means all kinds."""
    now = clock.now()
    numbers = volume.current()
    day_start = now - timedelta(hours=24)
    recent = [cell for cell in numbers.hours if cell.at + timedelta(hours=1) > day_start]
    kinds, total = _by_kind(recent)
    snapshot, sample = read(now), by_network.sample(day_start, _SAMPLE)
    return Overview(
        banners=raised(snapshot),
        pauses=snapshot.sending.pauses,
        day_chart=_day_chart([cell for cell in recent if kind in (None, cell.kind)], now),
        month_chart=_month_chart(numbers, kind, timezone.localdate(now)),
        kinds=kinds,
        total=total,
        facts=list(_facts(snapshot, total, sample)),
        failures=snapshot.failed,
        networks=network_rows(sample),
        sampled=len(sample),
        kind=kind or "",
        complete=numbers.complete,
    )


def _group(status: str) -> str:
    return _GROUPS.get(status, "failed")


def _by_kind(cells: Iterable[volume.Hour]) -> tuple[list[KindRow], KindRow]:
    price = conf.current().segment_cost
    rows: dict[str, KindRow] = {}
    total = KindRow("all kinds")
    for cell in cells:
        for row in (rows.setdefault(cell.kind, KindRow(cell.kind)), total):
            row.groups[_group(cell.status)] += cell.messages
            # DMark charges only for messages that it accepted.
            if cell.status in (Status.SENT, Status.DELIVERED, Status.UNDELIVERED):
                row.segments += cell.segments
                row.accepted += cell.messages
                row.clicked_texts += cell.opened
                row.cost = row.segments * price
    return sorted(rows.values(), key=lambda row: -row.total), total


def _day_chart(cells: Iterable[volume.Hour], now: datetime) -> SafeString:
    hours: dict[datetime, Counter[str]] = {}
    for cell in cells:
        hours.setdefault(cell.at, Counter())[_group(cell.status)] += cell.messages
    this = timezone.localtime(now).replace(minute=0, second=0, microsecond=0)
    columns = []
    for back in range(24, -1, -1):
        hour = this - timedelta(hours=back)
        label = f"{hour:%H}" if hour.hour % 3 == 0 else ""
        columns.append(chart.Column(label, f"{hour:%a %H:00}", hours.get(hour, Counter())))
    return chart.bars("Texts per hour, last day", columns, SERIES)


def _month_chart(numbers: volume.Counts, kind: str | None, today: date) -> SafeString:
    days: dict[date, Counter[str]] = {}
    for cell in numbers.hours:
        if kind in (None, cell.kind):
            days.setdefault(timezone.localdate(cell.at), Counter())[_group(cell.status)] += cell.messages
    for day in numbers.days:
        if kind in (None, day.kind):
            days.setdefault(day.day, Counter())[_group(day.status)] += day.messages
    columns = []
    for back in range(volume.DAYS - 1, -1, -1):
        on = today - timedelta(days=back)
        label = f"{on.day} {on:%b}" if on.weekday() == 0 else ""
        columns.append(chart.Column(label, f"{on:%a} {on.day} {on:%b}", days.get(on, Counter())))
    return chart.bars("Texts per day, last month", columns, SERIES)


def _facts(snapshot: Snapshot, total: KindRow, sample: list[by_network.Sample]) -> Iterable[tuple[str, str]]:
    sending = snapshot.sending
    ended = total.groups["delivered"] + total.groups["sent"] + total.groups["failed"] + total.groups["unknown"]
    yield ("Delivery rate (delivered ÷ sent)", f"{total.groups['delivered'] / ended:.1%}" if ended else "none yet")
    accept, deliver = by_network.waits(sample)
    yield f"Median time until {PROVIDER} accepted", span(median(accept)) if accept else "none yet"
    yield "Median time from accepted to delivered", span(median(deliver)) if deliver else "none yet"
    oldest = f", the oldest for {span(sending.late)}" if sending.oldest else ""
    yield "Waiting now", f"{counted(sending.waiting)}{oldest}"
    yield (
        "Worker",
        "; ".join(_worker(worker, sending.time) for worker in sending.workers)
        or ("none" if sending.config.delivery == "worker" else "not needed: texts are sent inline"),
    )
    yield "Access token", snapshot.token
    yield "Kept back by the rate limit", f"{counted(status.rate_limited(sending.time))} times"
    yield f"SMS segments accepted by {PROVIDER}", f"{total.segments:,}"
    if sending.config.segment_cost:
        yield "Cost", ugx(total.cost)


def _worker(worker: SmsWorker, now: datetime) -> str:
    state = f"paused: {worker.paused}" if worker.paused else f"sent {worker.sent:,}"
    flight = ""
    if worker.in_flight and worker.longest_since:
        longest = span((now - worker.longest_since).total_seconds())
        flight = f", {worker.in_flight} in flight, the longest for {longest} ({worker.longest_step})"
    return f"{worker.name}, up {span((now - worker.started_at).total_seconds())}, {state}{flight}"


def network_rows(sample: Sequence[by_network.Sample]) -> list[NetworkRow]:
    """Return one row per mobile network, the largest first, or [] if no message belongs to a known network."""
    found = by_network.by_network(sample)
    if set(found) <= {by_network.OTHER}:
        return []
    return [_network_row(name, of) for name, of in sorted(found.items(), key=lambda item: -len(item[1]))]


def _network_row(network: str, texts: Sequence[by_network.Sample]) -> NetworkRow:
    delivered = sum(one.status == Status.DELIVERED for one in texts)
    ended = delivered + sum(one.status in (Status.SENT, *UNSUCCESSFUL) for one in texts)
    accept, deliver = by_network.waits(texts)
    return NetworkRow(
        by_network.name(network),
        len(texts),
        f"{delivered / ended:.1%}" if ended else "none yet",
        _spread(accept),
        _spread(deliver),
    )


def _spread(seconds: Sequence[float]) -> str:
    return f"{span(median(seconds))} · {span(seconds[int(0.9 * (len(seconds) - 1))])}" if seconds else "none yet"
