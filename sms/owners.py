"""What stands behind a text: the app that queued it says so, by the beginning of its reference."""

from collections.abc import Callable
from typing import NamedTuple

from sms.models import SmsMessage


class Link(NamedTuple):
    label: str
    url: str


Resolver = Callable[[SmsMessage], list[Link]]
_resolvers: dict[str, Resolver] = {}


def register(prefix: str, resolver: Resolver) -> None:
    """Texts whose reference is `<prefix>:…` lead to what `resolver` returns; call it in an AppConfig's `ready`."""
    _resolvers[prefix] = resolver


def links(message: SmsMessage) -> list[Link]:
    resolver = _resolvers.get((message.dedupe_key or "").partition(":")[0])
    return resolver(message) if resolver else []
