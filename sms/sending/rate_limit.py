"""Rate limit: at most one message per phone and kind within SMS_RATE_LIMIT_SECONDS. Keys in the cache enforce it."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from sms import cache, clock, conf
from sms.models import SmsMessage, Status
from sms.sending.claims import ClaimedMessage

_Place = tuple[str, str]


def key(phone: str, kind: str) -> str:
    return f"sms_rate:{phone}:{kind}" if kind else f"sms_rate:{phone}"


def acquire_many(messages: Sequence[ClaimedMessage], window: int, *, by_table: bool = False) -> list[float]:
    """Acquire the rate-limit keys of `messages`. Return the seconds that each message must wait, possibly 0.

    A message can acquire its own key again. Delayed messages for the same phone and kind get waiting times one `window`
    (seconds) apart. `by_table`: if a cache call failed in the last `window` seconds, also check the message table.
    """
    if window <= 0 or not messages:
        return [0.0] * len(messages)
    entries = {message.pk: (key(message.phone, message.kind), _value(message.pk, window)) for message in messages}
    taken = _add(entries, window)
    holders = cache.get_many([entries[pk][0] for pk, added in taken.items() if added is False])
    # A key may have expired since the first attempt to acquire it. Try once more to acquire such a key.
    gone = {pk: entries[pk] for pk, added in taken.items() if added is False and entries[pk][0] not in holders}
    taken |= _add(gone, window)
    unknown = [message for message in messages if taken[message.pk] is None or cache.failed_within(window)]
    by_rows = _held_by_table(unknown, window) if by_table and unknown else {}
    waits: list[float] = []
    turns: Counter[_Place] = Counter()
    renewed: dict[str, object] = {}
    for message in messages:
        name, value = entries[message.pk]
        wait = by_rows.get(message.pk, 0.0)
        if taken[message.pk] is False:
            holder, until = _read(holders.get(name))
            if holder == str(message.pk):
                renewed[name] = value
            else:
                wait = min(max(until - clock.time(), 1.0), window) if until else float(window)
        if wait:
            place = (message.phone, message.kind)
            wait += turns[place] * window
            turns[place] += 1
        waits.append(wait)
    cache.put_many(renewed, window)
    return waits


def was_limited(message: ClaimedMessage) -> bool:
    """Return True if the rate limit has already delayed this message."""
    return message.error.startswith("Rate limit")


def _add(entries: dict[int, tuple[str, str]], window: int) -> dict[int, bool | None]:
    return dict(zip(entries, cache.add_many(list(entries.values()), window), strict=True)) if entries else {}


def _held_by_table(messages: Sequence[ClaimedMessage], window: int) -> dict[int, float]:
    """Apply the rate limit with the message table. Return the seconds that each delayed message must wait, by id."""
    now = clock.now()
    mine = {message.pk for message in messages}
    recent = SmsMessage.objects.filter(
        Q(status=Status.SENDING) | Q(sent_at__gt=now - timedelta(seconds=window)),
        phone__in={message.phone for message in messages},
    ).exclude(pk__in=mine)
    last: dict[_Place, datetime] = {}
    for phone, kind, sent_at in recent.values_list("phone", "kind", "sent_at"):
        last[phone, kind] = max(sent_at or now, last.get((phone, kind), now - timedelta(seconds=window)))
    held = {}
    for message in messages:
        place = (message.phone, message.kind)
        if place in last:
            held[message.pk] = max(1.0, window - (now - last[place]).total_seconds())
        else:
            # A later message of this batch, of the same kind and to the same phone, waits for this message.
            last[place] = now
    return held


def release_many(messages: Sequence[ClaimedMessage]) -> None:
    """Delete the rate-limit keys that belong to these messages, with two cache calls."""
    if conf.current().rate_limit <= 0 or not messages:
        return
    names = {key(message.phone, message.kind): str(message.pk) for message in messages}
    holders = cache.get_many(list(names))
    cache.drop_many([name for name, value in holders.items() if _read(value)[0] == names[name]])


def _value(message_id: int, window: int) -> str:
    # The value contains the expiry of its key, because some caches cannot report the remaining time of a key.
    return f"{message_id}@{clock.time() + window:.1f}"


def _read(value: Any) -> tuple[str, float]:
    """Return a key's holder (a message's id) and the key's expiry. If no key is stored, return "" and 0."""
    holder, _, until = ("" if value is None else str(value)).partition("@")
    return holder, float(until or 0)
