"""The throttle's key of one text, as a worker asks for those of many."""

from types import SimpleNamespace
from typing import Any, cast

from sms import conf
from sms.sending import rate_limit


def acquire(phone: str, kind: str, message_id: int, window: int | None = None) -> float:
    """0 when the text may go; else the seconds until it may."""
    message = cast(Any, SimpleNamespace(phone=phone, kind=kind, pk=message_id))
    return rate_limit.acquire_many([message], conf.current().rate_limit if window is None else window)[0]
