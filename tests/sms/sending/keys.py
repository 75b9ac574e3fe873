"""Helper for tests of the rate limit."""

from types import SimpleNamespace
from typing import Any, cast

from sms import conf
from sms.sending import rate_limit


def acquire(phone: str, kind: str, message_id: int, window: int | None = None) -> float:
    """Take the rate-limit key for one message. Return 0 if it may be sent, otherwise the seconds to wait."""
    message = cast(Any, SimpleNamespace(phone=phone, kind=kind, pk=message_id))
    return rate_limit.acquire_many([message], conf.current().rate_limit if window is None else window)[0]
