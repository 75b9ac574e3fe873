"""Log formatters for people (console) and for machines (JSON). Both redact credentials and phone numbers."""

import json
import logging
import re
from datetime import datetime, timezone
from typing import Any

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError

from sms.text import redact

# Finds the signature in a notification URL, to hide it. Anybody who knows the signature can make us poll the payment.
_NOTICE = re.compile(r"(/momo/dmarkpay/\d+)\.[\w-]+")


def hidden(text: str) -> str:
    """Hide credentials, the middle digits of phone numbers, and the signatures in notification URLs."""
    return _NOTICE.sub(r"\1.[hidden]", redact(text))


_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "request", "server_time"}


def extras(record: logging.LogRecord) -> dict[str, object]:
    """Return the fields that the logging call passed as `extra`."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


# The event name at the start of a log message. docs/logs.md lists all events.
_EVENT = re.compile(r"(?:sms|game|payments|playmatatu)\.[a-z_]+")
# Extra fields that are not printed for loggers of `sms`, because their messages already contain these values.
_SAID = frozenset({"event", "message_id", "kind", "phone", "http_status", "provider_id"})
# Escape sequences for characters that start a line or move the cursor, so that a request cannot forge a log line.
_BREAKS = str.maketrans({code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if code != 0x09})
_BREAKS |= {0x2028: "\\u2028", 0x2029: "\\u2029", 0x0A: "\\n", 0x0D: "\\r"}


# Exceptions caused by the client. They are logged without a traceback, so that malicious requests cannot fill the log.
_OF_THE_CALLER = (SuspiciousOperation, MultiPartParserError, BadRequest, UnreadablePostError)


class CallersErrors(logging.Filter):
    """Remove the traceback of an exception caused by the client, so that its log entry is one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], _OF_THE_CALLER):
            record.exc_info = record.exc_text = None
        return True


class ConsoleFormatter(logging.Formatter):
    """Format each record as a line for people.

    Example: `12:00:00 INFO sms.delivery: sms.send: 7 (match_found) to +25677****456, 200, id 9 attempt=1 ms=12`
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        said = _SAID if record.name.startswith("sms.") else frozenset()
        fields = (
            f"{key}={value}" for key, value in extras(record).items() if value not in (None, "") and key not in said
        )
        line = " ".join((super().formatMessage(record), *fields))
        # Few lines contain characters to escape, so the slow `translate` is usually skipped.
        return line if line.isprintable() else line.translate(_BREAKS)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        # A traceback is indented, because the text of an exception could otherwise look like a log line.
        return "\n".join(f"    {line.translate(_BREAKS)}" for line in super().formatException(ei).splitlines())

    def format(self, record: logging.LogRecord) -> str:
        return hidden(super().format(record))


class JsonFormatter(logging.Formatter):
    """Format each record as a JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": hidden(record.getMessage()),
        }
        if (event := _EVENT.match(str(record.msg))) is not None:
            line["event"] = event[0]
        for key, value in extras(record).items():
            line[key] = value if isinstance(value, int | float | bool | None) else hidden(str(value))
        if record.exc_info:
            line["exception"] = hidden(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)
