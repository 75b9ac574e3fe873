"""Access Django's cache without raising an exception.

If the cache is down, reads find no value and writes store nothing.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from django.core.cache import cache

from sms import clock

try:
    from django_redis.client import DefaultClient
except ImportError:
    DefaultClient = None

logger = logging.getLogger("sms.cache")
T = TypeVar("T")

_WARN_EVERY = 60.0
# After a failure, the cache is not called for this many seconds. Each call to a hanging cache would wait for its
# timeout.
_REST = 1.0
_last_warning = -_WARN_EVERY
_rest_until = 0.0


def guarded(call: Callable[[], T], default: T) -> T:
    """Return the result of `call`, or `default` if the cache is unavailable."""
    global _last_warning, _rest_until
    if clock.monotonic() < _rest_until:
        return default
    try:
        return call()
    # Each cache backend raises its own errors. An error of the cache must not prevent a message from being sent.
    except Exception as error:  # noqa: BLE001
        now = clock.monotonic()
        _rest_until = now + _REST
        if now - _last_warning >= _WARN_EVERY:
            _last_warning = now
            logger.warning(
                "sms.cache_down: messages are sent without the shared token and without the rate limit (%s)",
                type(error).__name__,
                extra={"event": "sms.cache_down"},
            )
        return default


def failed_within(seconds: float) -> bool:
    """Return True if a cache call failed in the last `seconds`. Keys may then be missing."""
    return clock.monotonic() < _rest_until - _REST + seconds


def get(key: str) -> Any:
    return guarded(lambda: cache.get(key), None)


def get_many(keys: Sequence[str]) -> dict[str, Any]:
    """Return the stored values by key. Keys without a value are left out."""
    return guarded(lambda: cache.get_many(keys), {}) if keys else {}


def put(key: str, value: object, seconds: float) -> None:
    guarded(lambda: cache.set(key, value, int(seconds)), None)


def add(key: str, value: object, seconds: float) -> bool | None:
    """Return True if the key was set, False if it already exists, and None if the cache is unavailable.

    With IGNORE_EXCEPTIONS, django-redis also returns a false value if Redis is down. Reading the key tells the cases
    apart.
    """
    if guarded(lambda: cache.add(key, value, int(seconds)), None):
        return True
    return None if get(key) is None else False


def add_many(entries: Sequence[tuple[str, object]], seconds: float) -> list[bool | None]:
    """Set the missing keys. Return a result for each key, like that of `add`. Uses one round trip if possible."""
    client: Any = getattr(cache, "client", None)
    if DefaultClient is None or type(client) is not DefaultClient:
        return [add(key, value, seconds) for key, value in entries]

    def call() -> list[bool | None]:
        pipeline = client.get_client(write=True).pipeline(transaction=False)
        for key, value in entries:
            client.add(key, value, int(seconds), client=pipeline)
        return [bool(added) for added in pipeline.execute()]

    return guarded(call, [None] * len(entries))


def put_many(entries: Mapping[str, object], seconds: float) -> None:
    if entries:
        guarded(lambda: cache.set_many(dict(entries), int(seconds)), [])


def drop(key: str) -> None:
    guarded(lambda: cache.delete(key), False)


def drop_many(keys: Sequence[str]) -> None:
    if keys:
        guarded(lambda: cache.delete_many(keys), None)
