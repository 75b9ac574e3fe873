"""Statistics by mobile network: waiting times, and networks on which too many messages are late or fail."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, F, Q
from django.db.models.functions import TruncMinute

from sms import conf, networks
from sms.conf import PROVIDER
from sms.models import UNSUCCESSFUL, SmsMessage, Status
from sms.stats.status import Concern

# Stands for phone numbers whose network is not known.
OTHER = "other"

# A message is late if it is delivered more than this time after it was queued. Without delivery reports, acceptance by
# DMark counts instead of delivery.
LATE = timedelta(minutes=5)
# A network is in trouble if more than 10% (SHARE) of its messages were late or failed in each of 10 windows (RUNNING).
# A new window of 10 minutes (WINDOW) starts each minute. Each window needs at least 10 messages (ENOUGH), so that one
# phone that is switched off does not count as trouble.
SHARE, RUNNING, WINDOW, ENOUGH = 0.1, 10, 10, 10
# A network is also in trouble if more than this share of its delivery reports are failures (at least 10 reports on
# messages of the last 10 minutes). This rule finds trouble before messages are late.
REPORTED_SHARE = 0.5
_MINUTE = timedelta(minutes=1)


class Sample(NamedTuple):
    """The columns of a message from which the statistics by network are computed."""

    network: str
    status: str
    created_at: datetime
    sent_at: datetime | None
    delivered_at: datetime | None

    @property
    def accept(self) -> float | None:
        """The seconds between queueing and acceptance by DMark, or None if the message was not accepted."""
        return (self.sent_at - self.created_at).total_seconds() if self.sent_at else None

    @property
    def deliver(self) -> float | None:
        """The seconds between acceptance by DMark and delivery, or None if the message was not delivered."""
        if self.sent_at is None or self.delivered_at is None:
            return None
        return (self.delivered_at - self.sent_at).total_seconds()


class Slow(NamedTuple):
    """A network on which too many messages are late or failed.

    `texts`: number of examined messages or delivery reports. `share`: the fraction of them that is late or failed.
    """

    network: str
    share: float
    texts: int


def concerns(slow: Sequence[Slow]) -> Iterator[Concern]:
    """Yield a concern about each network in trouble. Several known networks in trouble give one concern about DMark."""
    known = [one for one in slow if one.network != OTHER]
    if len(known) > 1:
        texts = sum(one.texts for one in known)
        share = sum(one.share * one.texts for one in known) / texts
        names = " and ".join(name(one.network) for one in known)
        text = f"{PROVIDER}: {share:.0%} of the last {texts:,} texts to {names} were late or not delivered."
        remedy = f"Several networks at once point to {PROVIDER}, so call {PROVIDER}."
        yield Concern("network:dmark", "warning", text, remedy)
        return
    for one in slow:
        text = f"{name(one.network)}: {one.share:.0%} of the last {one.texts:,} texts were late or not delivered."
        yield Concern(f"network:{one.network}", "warning", text, f"Tell {PROVIDER}.")


def name(network: str) -> str:
    return "other numbers" if network == OTHER else networks.name(network)


def sample(since: datetime, most: int) -> list[Sample]:
    """Return up to `most` messages that were queued at or after `since`, newest first."""
    rows = SmsMessage.objects.filter(created_at__gte=since).order_by("-created_at")
    columns = rows.values_list("phone", "status", "created_at", "sent_at", "delivered_at")[:most]
    return [
        Sample(networks.network_of(phone) or OTHER, status, created, sent, delivered)
        for phone, status, created, sent, delivered in columns
    ]


def by_network(messages: Sequence[Sample]) -> dict[str, list[Sample]]:
    found: defaultdict[str, list[Sample]] = defaultdict(list)
    for message in messages:
        found[message.network].append(message)
    return dict(found)


def waits(messages: Sequence[Sample]) -> tuple[list[float], list[float]]:
    """Return two sorted lists of seconds: from queueing to acceptance by DMark, and from acceptance to delivery."""
    accept = [one.accept for one in messages if one.accept is not None]
    deliver = [one.deliver for one in messages if one.deliver is not None]
    return sorted(accept), sorted(deliver)


class _Minute(NamedTuple):
    """Counts of the messages that were queued `age` minutes ago to numbers with the same first digits.

    `late` and `not_accepted` are valid only if `age` is 5 or more.
    """

    network: str
    age: int
    total: int
    failed: int
    late: int
    not_accepted: int
    delivered: int
    undelivered: int


def in_trouble(now: datetime) -> list[Slow]:
    """Return the networks on which too many messages are late or failed, with one query over the last 25 minutes."""
    minutes = _minutes(now)
    by_reports = conf.current().dlr_enabled and any(minute.delivered for minute in minutes)
    found = []
    for network in sorted({minute.network for minute in minutes}):
        own = [minute for minute in minutes if minute.network == network]
        windows = [_window(own, back, by_reports) for back in range(RUNNING)]
        recent = [minute for minute in own if minute.age < WINDOW]
        undelivered = sum(minute.undelivered for minute in recent)
        reports = undelivered + sum(minute.delivered for minute in recent)
        if all(total >= ENOUGH and bad > SHARE * total for bad, total in windows):
            bad, total = windows[0]
            found.append(Slow(network, bad / total, total))
        elif reports >= ENOUGH and undelivered > REPORTED_SHARE * reports:
            found.append(Slow(network, undelivered / reports, reports))
    return found


def _window(minutes: Sequence[_Minute], back: int, by_reports: bool) -> tuple[int, int]:
    """Return how many messages of one window were bad (failed or late), and the number of all its messages.

    `by_reports`: if True, late means not delivered in time; if False, it means not accepted by DMark in time. `back`: 0
    for the newest window, 1 for the window that began a minute earlier.
    """
    start = int(LATE / _MINUTE) + back
    chosen = [minute for minute in minutes if start <= minute.age < start + WINDOW]
    bad = sum(minute.failed + (minute.late if by_reports else minute.not_accepted) for minute in chosen)
    return bad, sum(minute.total for minute in chosen)


def _minutes(now: datetime) -> list[_Minute]:
    start = now - LATE - (RUNNING + WINDOW) * _MINUTE
    not_delivered = Q(delivered_at=None) | Q(delivered_at__gt=F("created_at") + LATE)
    not_accepted = Q(sent_at=None) | Q(sent_at__gt=F("created_at") + LATE)
    ended_badly = Q(status__in=UNSUCCESSFUL)
    counted = (
        SmsMessage.objects.filter(created_at__gte=start, created_at__lt=now)
        .order_by()
        .annotate(minute=TruncMinute("created_at"), digits=networks.deciding_digits())
        .values_list("minute", "digits")
        .annotate(
            texts=Count("pk"),
            failed=Count("pk", filter=ended_badly),
            late=Count("pk", filter=not_delivered & ~ended_badly),
            not_accepted=Count("pk", filter=not_accepted & ~ended_badly),
            delivered=Count("delivered_at"),
            undelivered=Count("pk", filter=Q(status=Status.UNDELIVERED)),
        )
    )
    return [
        _Minute(networks.network_of(digits) or OTHER, int((now - minute) / _MINUTE), *counts)
        for minute, digits, *counts in counted
    ]
