"""Texts by mobile network, as the first digits of a number hint it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db.models import Count, F, Q
from django.db.models.functions import Substr, TruncMinute

from sms import conf
from sms.models import UNSUCCESSFUL, SmsMessage

OTHER = "other"
NAMES = {"mtn": "MTN", "airtel": "Airtel", OTHER: "other numbers"}

# A text that has not arrived after that is late.
LATE = timedelta(minutes=5)
# A network is in trouble when so large a share of its texts of the last minutes is late or failed, so long running;
# of at least so many texts, since one phone that is off is no trouble of a network.
SHARE, RUNNING, WINDOW, ENOUGH = 0.1, 10, 10, 10
_MINUTE = timedelta(minutes=1)
# `+256` and the three digits after the 0 of a local number.
_DIGITS = len("+25677")


class Sample(NamedTuple):
    """One text as the figures need it."""

    network: str
    status: str
    created_at: datetime
    sent_at: datetime | None
    delivered_at: datetime | None

    @property
    def accept(self) -> float | None:
        """Seconds from queued to taken by DMark."""
        return (self.sent_at - self.created_at).total_seconds() if self.sent_at else None

    @property
    def deliver(self) -> float | None:
        """Seconds from taken to delivered."""
        if self.sent_at is None or self.delivered_at is None:
            return None
        return (self.delivered_at - self.sent_at).total_seconds()


class Slow(NamedTuple):
    """`share`: of the `texts` queued within WINDOW minutes, as of now."""

    network: str
    share: float
    texts: int

    @property
    def words(self) -> str:
        return (
            f"{name(self.network)}: {self.share:.0%} of its last {self.texts} texts arrive late or not at all. Other "
            "networks may be well. Tell DMark; players there have their links on the page they staked on."
        )


def name(network: str) -> str:
    """As a person writes it."""
    return NAMES.get(network, network)


def network_of(phone: str) -> str:
    """`mtn`, `airtel` or what else NETWORK_PREFIXES has, for a number in E.164; OTHER for an unknown one."""
    local = "0" + phone.removeprefix("+256")
    return next((network for network, known in _prefixes().items() if local.startswith(tuple(known))), OTHER)


def _prefixes() -> Mapping[str, Sequence[str]]:
    found: Mapping[str, Sequence[str]] = getattr(settings, "NETWORK_PREFIXES", None) or {}
    return found


def sample(since: datetime, most: int) -> list[Sample]:
    """The newest texts since then, at most so many, newest first."""
    rows = SmsMessage.objects.filter(created_at__gte=since).order_by("-created_at")
    columns = rows.values_list("phone", "status", "created_at", "sent_at", "delivered_at")[:most]
    return [
        Sample(network_of(phone), status, created, sent, delivered)
        for phone, status, created, sent, delivered in columns
    ]


def in_trouble(now: datetime) -> list[Slow]:
    """Networks of whose last texts too many are late or failed, for RUNNING minutes now.

    Judged by the minute of queueing, five minutes later, when each text had its time to arrive. One query over the
    last half an hour. Where no
    report comes at all a text has arrived when DMark has taken it.
    """
    start = now - LATE - (RUNNING + WINDOW) * _MINUTE
    rows = SmsMessage.objects.filter(created_at__gte=start, created_at__lt=now - LATE)
    waits = Q(delivered_at=None) | Q(delivered_at__gt=F("created_at") + LATE)
    untaken = Q(sent_at=None) | Q(sent_at__gt=F("created_at") + LATE)
    counted = (
        rows.order_by()
        .annotate(minute=TruncMinute("created_at"), digits=Substr("phone", 1, _DIGITS))
        .values_list("minute", "digits")
        .annotate(
            texts=Count("pk"),
            failed=Count("pk", filter=Q(status__in=UNSUCCESSFUL)),
            late=Count("pk", filter=waits & ~Q(status__in=UNSUCCESSFUL)),
            untaken=Count("pk", filter=untaken & ~Q(status__in=UNSUCCESSFUL)),
            delivered=Count("delivered_at"),
        )
    )
    found = list(counted)
    by_reports = conf.current().dlr_enabled and any(row[-1] for row in found)
    texts: defaultdict[str, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
    bad: defaultdict[str, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
    for minute, digits, total, failed, late, untaken_count, _ in found:
        network, back = network_of(digits), int((now - LATE - minute) / _MINUTE)
        texts[network][back] += total
        bad[network][back] += failed + (late if by_reports else untaken_count)
    return [
        Slow(network, _share(bad[network], texts[network], 0), _within(texts[network], 0))
        for network in sorted(texts)
        if all(_is_bad(bad[network], texts[network], back) for back in range(RUNNING))
    ]


def _within(counts: Mapping[int, int], back: int) -> int:
    return sum(counts.get(minute, 0) for minute in range(back, back + WINDOW))


def _share(bad: Mapping[int, int], texts: Mapping[int, int], back: int) -> float:
    total = _within(texts, back)
    return _within(bad, back) / total if total else 0.0


def _is_bad(bad: Mapping[int, int], texts: Mapping[int, int], back: int) -> bool:
    return _within(texts, back) >= ENOUGH and _share(bad, texts, back) > SHARE
