"""One text a phone (and kind) within SMS_RATE_LIMIT_SECONDS: acquired before sending, released when it failed."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from sms import cache, clock, conf
from sms.models import SmsMessage, Status
from sms.sending.claims import Text


def key(phone: str, kind: str) -> str:
    return f"sms_rate:{phone}:{kind}" if kind else f"sms_rate:{phone}"


def acquire_many(messages: Sequence[Text], window: int, *, by_table: bool = False) -> list[float]:
    """For each text 0 when it may go, else the seconds until it may; its own key lets a message pass again.

    In one trip where the cache allows: alone each costs a third of what its text does.
    `by_table`: where the cache is out of reach the table tells who had a text of that kind within the window.
    """
    if window <= 0 or not messages:
        return [0.0] * len(messages)
    entries = [(key(message.phone, message.kind), _value(message.pk, window)) for message in messages]
    taken = cache.add_many(entries, window)
    unknown = [message for message, added in zip(messages, taken, strict=True) if added is None]
    held = _held_by_table(unknown, window) if by_table and unknown else {}
    holders = cache.get_many([name for (name, _), added in zip(entries, taken, strict=True) if added is False])
    return [
        _left(holders.get(name), message.pk, window) if added is False else held.get(message.pk, 0.0)
        for message, (name, _), added in zip(messages, entries, taken, strict=True)
    ]


def _held_by_table(messages: Sequence[Text], window: int) -> dict[int, float]:
    """Seconds that each has to wait for a text of its phone and kind that left within the window, or is under way."""
    now = clock.now()
    mine = {message.pk for message in messages}
    recent = SmsMessage.objects.filter(
        Q(status=Status.SENDING) | Q(sent_at__gt=now - timedelta(seconds=window)),
        phone__in={message.phone for message in messages},
    ).exclude(pk__in=mine)
    last: dict[tuple[str, str], datetime] = {}
    for phone, kind, sent_at in recent.values_list("phone", "kind", "sent_at"):
        last[phone, kind] = max(sent_at or now, last.get((phone, kind), now - timedelta(seconds=window)))
    held = {}
    for message in messages:
        place = (message.phone, message.kind)
        if place in last:
            held[message.pk] = max(1.0, window - (now - last[place]).total_seconds())
        # The next of the same phone in this very handful waits for this one.
        else:
            last[place] = now
    return held


def release(phone: str, kind: str, message_id: int) -> None:
    """Give the key back, if it is still this message's."""
    if conf.current().rate_limit > 0 and _read(cache.get(key(phone, kind)))[0] == str(message_id):
        cache.drop(key(phone, kind))


def _value(message_id: int, window: int) -> str:
    # It names the message and when the key ends, since not every cache tells what is left of a key.
    return f"{message_id}@{time.time() + window:.1f}"


def _left(value: Any, message_id: int, window: int) -> float:
    """Seconds until the key that another text holds ends; 0 if it is this message's own, or gone."""
    holder, until = _read(value)
    if holder in ("", str(message_id)):
        return 0.0
    return min(max(until - time.time(), 1.0), window) if until else float(window)


def _read(value: Any) -> tuple[str, float]:
    holder, _, until = ("" if value is None else str(value)).partition("@")
    try:
        return holder, float(until or 0)
    except ValueError:
        return holder, 0.0
