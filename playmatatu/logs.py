"""Log lines: one for people, one for machines; both redacted, whatever a caller passed."""

import json
import logging
from datetime import datetime, timezone

from sms.text import redact

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "request", "server_time"}


def extras(record: logging.LogRecord) -> dict[str, object]:
    """The structured fields a caller gave with `extra`."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class ConsoleFormatter(logging.Formatter):
    """`12:00:00 INFO sms.delivery: sms.sent message=7 kind=match_found …`"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        fields = " ".join(f"{key}={value}" for key, value in extras(record).items() if value not in (None, ""))
        return f"{super().formatMessage(record)} {fields}".rstrip()

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        for key, value in extras(record).items():
            line[key] = value if isinstance(value, int | float | bool | None) else redact(str(value))
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)
