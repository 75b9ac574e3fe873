"""Owners: the apps that queue messages. The part of a dedupe key before the first colon identifies the owner."""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from sms.models import SmsMessage

logger = logging.getLogger("sms.owners")


class Link(NamedTuple):
    label: str
    url: str


class Sample(NamedTuple):
    """An example of a message, with the longest values that its template can contain. `language`: a language code."""

    kind: str
    language: str
    text: str


class Referenced(Protocol):
    """A message, reduced to the fields that its owner (the app that queued it) needs."""

    pk: int
    dedupe_key: str | None


Resolver = Callable[[SmsMessage], list[Link]]
# A function that takes claimed messages, and returns the ids of those still worth sending. All messages of the owner
# in a batch are passed in one call, so that one query is enough.
WorthSending = Callable[[Collection[Referenced]], set[int]]
# A function that takes messages which an operator wants to resend, and returns the ids of those still worth sending.
WorthResending = Callable[[Collection[SmsMessage]], set[int]]
Sampler = Callable[[], Iterable[Sample]]


class _Owner(NamedTuple):
    resolver: Resolver
    worth_sending: WorthSending | None
    worth_resending: WorthResending | None


_owners: dict[str, _Owner] = {}
_samplers: list[Sampler] = []


def register(
    prefix: str,
    resolver: Resolver,
    worth_sending: WorthSending | None = None,
    worth_resending: WorthResending | None = None,
) -> None:
    """Register the owner of the messages whose dedupe key begins with `<prefix>:`. Call this in an AppConfig's `ready`.

    Without `worth_sending`, all messages are worth sending. `worth_resending` defaults to `worth_sending`.
    """
    _owners[prefix] = _Owner(resolver, worth_sending, worth_resending or worth_sending)


def register_samples(sampler: Sampler) -> None:
    """Register a function that returns sample messages. The system check sms.W010 counts their SMS segments.

    Call this in an AppConfig's `ready`.
    """
    _samplers.append(sampler)


def samples() -> Iterable[Sample]:
    for sampler in _samplers:
        yield from sampler()


def links(message: SmsMessage) -> list[Link]:
    """Return links to the object that a message is about, for example a stake."""
    owner = _owners.get(_prefix(message))
    return owner.resolver(message) if owner else []


def worth_sending(messages: Collection[Referenced]) -> set[int]:
    """Return the ids of the messages that are still worth sending according to their owners.

    If an owner's function raises an exception, all messages of this owner are included, because a late message is
    better than none. Call this outside a transaction.
    """
    return _worth(messages, {prefix: owner.worth_sending for prefix, owner in _owners.items()})


def worth_resending(messages: Collection[SmsMessage]) -> set[int]:
    """Return the ids of the messages that are worth resending according to their owners. See `worth_sending`."""
    return _worth(messages, {prefix: owner.worth_resending for prefix, owner in _owners.items()})


def _worth(
    messages: Collection[Any], functions: Mapping[str, Callable[[Collection[Any]], set[int]] | None]
) -> set[int]:
    worth: set[int] = set()
    by_prefix: defaultdict[str, list[Any]] = defaultdict(list)
    for message in messages:
        by_prefix[_prefix(message)].append(message)
    for prefix, its_messages in by_prefix.items():
        function = functions.get(prefix)
        try:
            worth |= function(its_messages) if function else {message.pk for message in its_messages}
        except Exception:
            logger.exception(
                "sms.judge_failed: the owner of %s messages could not say if they are worth sending; they are sent",
                prefix,
                extra={"event": "sms.judge_failed"},
            )
            worth |= {message.pk for message in its_messages}
    return worth


def _prefix(message: Referenced) -> str:
    return (message.dedupe_key or "").partition(":")[0]
