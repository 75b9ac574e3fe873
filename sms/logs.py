"""Add the event's name to each log record. The name is the start of the log message, up to the first colon."""

import logging
from collections.abc import MutableMapping
from typing import Any


class EventLogger(logging.LoggerAdapter):  # type: ignore[type-arg]  # not subscriptable on Python 3.10
    """A logger whose records have the attribute `event`: the text of the message up to the first colon."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Keep the caller's `extra`. LoggerAdapter would replace it."""
        return msg, {**kwargs, "extra": {"event": msg.partition(":")[0], **(kwargs.get("extra") or {})}}


def get_logger(name: str) -> EventLogger:
    return EventLogger(logging.getLogger(name), {})
