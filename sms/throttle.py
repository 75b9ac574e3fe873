"""One text a phone (and kind) within SMS_RATE_LIMIT_SECONDS: acquired before sending, released when it failed."""

import time
from typing import Any

from sms import cache, conf


def key(phone: str, kind: str) -> str:
    return f"sms_rate:{phone}:{kind}" if kind else f"sms_rate:{phone}"


def acquire(phone: str, kind: str, message_id: int, window: int | None = None) -> float:
    """0 when the text may go; else the seconds until it may. Its own key lets a message pass again."""
    window = conf.current().rate_limit if window is None else window
    if window <= 0:
        return 0.0
    taken = key(phone, kind)
    # The value names the message and when the key ends, since not every cache tells what is left of a key.
    if cache.add(taken, f"{message_id}@{time.time() + window:.1f}", window) is not False:
        return 0.0
    holder, until = _read(cache.get(taken))
    if holder in ("", str(message_id)):
        return 0.0
    return min(max(until - time.time(), 1.0), window) if until else float(window)


def release(phone: str, kind: str, message_id: int) -> None:
    """Give the key back, if it is still this message's."""
    if conf.current().rate_limit > 0 and _read(cache.get(key(phone, kind)))[0] == str(message_id):
        cache.drop(key(phone, kind))


def _read(value: Any) -> tuple[str, float]:
    holder, _, until = ("" if value is None else str(value)).partition("@")
    try:
        return holder, float(until or 0)
    except ValueError:
        return holder, 0.0
