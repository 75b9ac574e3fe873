"""Rows of the two tables on the overview: groups of failures, and mobile networks."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from statistics import median
from typing import NamedTuple
from urllib.parse import urlencode

from django.urls import reverse

from sms.console.banners import failed_url
from sms.models import UNSUCCESSFUL, Status
from sms.stats import networks
from sms.stats.failures import Group
from sms.wording import span


class FailureRow(NamedTuple):
    """A row for one group of failures with the same status and reason.

    `url`: the list of the messages in the group. `resend`: the page that resends messages with this status and reason.
    """

    status: str
    reason: str
    title: str
    texts: str
    last: datetime | None
    kinds: str
    over: bool
    needs_action: bool
    url: str
    resend: str


class NetworkRow(NamedTuple):
    name: str
    texts: int
    delivered: str
    accept: str
    deliver: str


def failure_row(group: Group) -> FailureRow:
    kinds = ", ".join(sorted({kind or "plain" for kind in group.kinds}))
    query = urlencode({"status": group.status, "reason": group.reason})
    resend = f"{reverse('admin:sms_smsmessage_resend')}?{query}"
    return FailureRow(
        group.status,
        group.reason,
        group.title,
        group.counted,
        group.last,
        kinds,
        group.over,
        group.needs_action,
        failed_url(group),
        resend,
    )


def network_rows(sample: Sequence[networks.Sample]) -> list[NetworkRow]:
    """Return a row per network, the network with the most messages first.

    Return an empty list if no message belongs to a known network.
    """
    by_network: defaultdict[str, list[networks.Sample]] = defaultdict(list)
    for message in sample:
        by_network[message.network].append(message)
    if set(by_network) <= {networks.OTHER}:
        return []
    return [_network_row(name, of) for name, of in sorted(by_network.items(), key=lambda item: -len(item[1]))]


def _network_row(network: str, texts: Sequence[networks.Sample]) -> NetworkRow:
    delivered = sum(one.status == Status.DELIVERED for one in texts)
    ended = delivered + sum(one.status in (Status.SENT, *UNSUCCESSFUL) for one in texts)
    accept, deliver = waits(texts)
    return NetworkRow(
        networks.name(network),
        len(texts),
        f"{delivered / ended:.1%}" if ended else "none yet",
        _spread(accept),
        _spread(deliver),
    )


def waits(texts: Sequence[networks.Sample]) -> tuple[list[float], list[float]]:
    """Return two sorted lists of seconds: from queued to accepted by DMark, and from accepted to delivered."""
    accept = [one.accept for one in texts if one.accept is not None]
    deliver = [one.deliver for one in texts if one.deliver is not None]
    return sorted(accept), sorted(deliver)


def _spread(seconds: Sequence[float]) -> str:
    return f"{span(median(seconds))} · {span(seconds[int(0.9 * (len(seconds) - 1))])}" if seconds else "none yet"
