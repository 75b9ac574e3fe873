"""What stands behind a text: the app that queued it says so, by the beginning of its reference.

It tells where a text's subject is shown, and whether a text that has not left yet is still worth sending.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from sms.models import SmsMessage

logger = logging.getLogger("sms.owners")


class Link(NamedTuple):
    label: str
    url: str


class Referenced(Protocol):
    """A text, as far as what stands behind it goes."""

    pk: int
    dedupe_key: str | None


Resolver = Callable[[SmsMessage], list[Link]]
# Of texts with one prefix the ids that are still worth sending; asked for a whole claim at once, so one query at most.
Judge = Callable[[Collection[Referenced]], set[int]]

_resolvers: dict[str, Resolver] = {}
_judges: dict[str, Judge] = {}


def register(prefix: str, resolver: Resolver, worth_sending: Judge | None = None) -> None:
    """Texts whose reference is `<prefix>:…` lead to what `resolver` returns; call it in an AppConfig's `ready`.

    Without `worth_sending` all of them are, until they expire.
    """
    _resolvers[prefix] = resolver
    if worth_sending is None:
        _judges.pop(prefix, None)
    else:
        _judges[prefix] = worth_sending


def links(message: SmsMessage) -> list[Link]:
    resolver = _resolvers.get(_prefix(message))
    return resolver(message) if resolver else []


def worth_sending(messages: Collection[Referenced]) -> set[int]:
    """The ids of those that may still leave. Call it outside a transaction.

    One question a prefix, and none for texts that nobody judges. Where a judge fails its texts leave: late news is
    better than none.
    """
    worth = set()
    asked: defaultdict[str, list[Referenced]] = defaultdict(list)
    for message in messages:
        prefix = _prefix(message)
        if prefix in _judges:
            asked[prefix].append(message)
        else:
            worth.add(message.pk)
    for prefix, theirs in asked.items():
        try:
            worth |= _judges[prefix](theirs)
        except Exception:
            logger.exception(
                "sms.judge_failed: whether texts of %s are still worth sending is not known; they leave", prefix
            )
            worth |= {message.pk for message in theirs}
    return worth


def _prefix(message: Referenced) -> str:
    return (message.dedupe_key or "").partition(":")[0]
