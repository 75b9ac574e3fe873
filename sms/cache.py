"""Django's cache, which may be down: then every call answers as if nothing were stored, with a warning now and then."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from django.core.cache import cache

from sms import clock

try:
    from django_redis.client import DefaultClient
except ImportError:  # another cache
    DefaultClient = None

logger = logging.getLogger("sms.cache")
T = TypeVar("T")

_WARN_EVERY = 60.0
# A cache that hangs costs its time-out at every call: after one failure it is left alone for a moment.
_REST = 1.0
_last_warning = -_WARN_EVERY
_rest_until = 0.0


def guarded(call: Callable[[], T], default: T) -> T:
    """The call's answer, or `default` when the cache is out of reach."""
    global _last_warning, _rest_until
    if clock.monotonic() < _rest_until:
        return default
    try:
        return call()
    # Each backend has errors of its own, and none of them may cost a text.
    except Exception as error:  # noqa: BLE001
        now = clock.monotonic()
        _rest_until = now + _REST
        if now - _last_warning >= _WARN_EVERY:
            _last_warning = now
            logger.warning(
                "sms.cache_down: texts go out without a shared token and without the throttle (%s)",
                type(error).__name__,
                extra={"event": "sms.cache_down"},
            )
        return default


def get(key: str) -> Any:
    return guarded(lambda: cache.get(key), None)


def get_many(keys: Sequence[str]) -> dict[str, Any]:
    """What is stored under these keys; in one trip where the cache allows."""
    return guarded(lambda: cache.get_many(keys), {}) if keys else {}


def put(key: str, value: object, seconds: float) -> None:
    guarded(lambda: cache.set(key, value, int(seconds)), None)


def add(key: str, value: object, seconds: float) -> bool | None:
    """True: set now. False: something is stored there. None: the cache answers nothing that can be trusted.

    A backend that swallows its errors (django-redis with IGNORE_EXCEPTIONS) answers falsy to `add` when it is
    down; what tells that from a taken key is that there is nothing to read.
    """
    if guarded(lambda: cache.add(key, value, int(seconds)), None):
        return True
    return None if get(key) is None else False


def add_many(entries: Sequence[tuple[str, object]], seconds: float) -> list[bool | None]:
    """`add` for each key and value; in one trip where the cache is django-redis."""
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


def forget_failure() -> None:
    """Ask the cache again at once, and warn again."""
    global _last_warning, _rest_until
    _last_warning, _rest_until = -_WARN_EVERY, 0.0
