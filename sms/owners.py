"""Owners are the apps that queue messages. The prefix of a message's reference (its dedupe key) identifies the owner.

For the admin, an owner returns links to the object that a message is about. It may also decide whether a waiting
message is still worth sending, and give samples of its messages, so that a system check can count their SMS segments.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple, Protocol, TypeVar

from sms.models import SmsMessage

logger = logging.getLogger("sms.owners")


class Link(NamedTuple):
    label: str
    url: str


class Sample(NamedTuple):
    """A message with the longest values that it can have. `language`: its language code."""

    kind: str
    language: str
    text: str


class Referenced(Protocol):
    """The fields of a message that its owner, the app that queued it, needs."""

    pk: int
    dedupe_key: str | None


M = TypeVar("M", bound=Referenced)
Resolver = Callable[[SmsMessage], list[Link]]
# A function that returns the ids of the messages still worth sending. It is called once with all claimed messages of
# one prefix, so that it needs only one query.
WorthSending = Callable[[Collection[Referenced]], set[int]]
# A function that returns, for messages that an operator wants to resend, the ids of those still worth sending.
WorthResending = Callable[[Collection[SmsMessage]], set[int]]
Sampler = Callable[[], Iterable[Sample]]

_resolvers: dict[str, Resolver] = {}
_worth_sending: dict[str, WorthSending] = {}
_worth_resending: dict[str, WorthResending] = {}
_samplers: list[Sampler] = []


def register(
    prefix: str,
    resolver: Resolver,
    worth_sending: WorthSending | None = None,
    worth_resending: WorthResending | None = None,
) -> None:
    """Set the owner of the messages with the reference `<prefix>:…`. Call this in an AppConfig's `ready`.

    Without `worth_sending`, all these messages are worth sending until they expire. Without `worth_resending`, an
    operator may send again the messages that are worth sending.
    """
    _resolvers[prefix] = resolver
    _worth_sending.pop(prefix, None)
    _worth_resending.pop(prefix, None)
    if worth_sending is not None:
        _worth_sending[prefix] = worth_sending
    if worth_resending is not None:
        _worth_resending[prefix] = worth_resending


def register_samples(sampler: Sampler) -> None:
    """Add samples for the system check sms.W010, which counts segments. Call this in an AppConfig's `ready`."""
    _samplers.append(sampler)


def samples() -> Iterable[Sample]:
    """Yield the samples of all owners."""
    for sampler in _samplers:
        yield from sampler()


def links(message: SmsMessage) -> list[Link]:
    """Return links to the subject of a message."""
    resolver = _resolvers.get(_prefix(message))
    return resolver(message) if resolver else []


def worth_sending(messages: Collection[Referenced]) -> set[int]:
    """Return the ids of the messages that their owners still want sent. Call this outside a transaction.

    The function of each owner is called once. If the function fails, all messages of its owner are sent: a late message
    is better than none.
    """
    return _worth(messages, _worth_sending)


def worth_resending(messages: Collection[SmsMessage]) -> set[int]:
    """Return the ids of the messages that their owners want sent again. Otherwise like `worth_sending`."""
    return _worth(messages, {**_worth_sending, **_worth_resending})


def _worth(messages: Collection[M], functions: Mapping[str, Callable[[Collection[M]], set[int]]]) -> set[int]:
    worth = set()
    by_prefix: defaultdict[str, list[M]] = defaultdict(list)
    for message in messages:
        prefix = _prefix(message)
        if prefix in functions:
            by_prefix[prefix].append(message)
        else:
            worth.add(message.pk)
    for prefix, its_messages in by_prefix.items():
        try:
            worth |= functions[prefix](its_messages)
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
