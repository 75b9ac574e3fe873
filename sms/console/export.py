"""Export messages as CSV. Operators compare the export with the bill of DMark, the SMS provider.

The export contains no texts and no full phone numbers.
"""

import csv
from collections.abc import Iterable

from django.db.models import QuerySet
from django.utils import timezone

from sms import conf
from sms.models import SmsMessage
from sms.text.redaction import mask_phone

COLUMNS = (
    "id", "queued_at", "kind", "phone", "status", "send_requests", "segments", "cost_ugx", "provider_id", "reference",
    "sent_at", "delivered_at", "error",
)  # fmt: skip
_CHUNK = 1000


class _Line:
    """A file object for `csv.writer`. Its `write` returns the line, so that `writerow` returns the line too."""

    def write(self, line: str) -> str:
        return line


def lines(rows: "QuerySet[SmsMessage]") -> Iterable[str]:
    """Yield the lines of the CSV file.

    The rows are read in chunks, so that large exports need little memory. Times are ISO 8601 in the site's time zone.
    """
    writer = csv.writer(_Line())
    price = conf.current().segment_cost
    # A byte order mark tells spreadsheet programs that the file is UTF-8.
    yield "\ufeff" + str(writer.writerow(COLUMNS))
    for message in rows.iterator(chunk_size=_CHUNK):
        times = (message.created_at, message.sent_at, message.delivered_at)
        queued, sent, delivered = (timezone.localtime(at).isoformat(timespec="seconds") if at else "" for at in times)
        row = (
            message.pk, queued, message.kind, mask_phone(message.phone).lstrip("+"), message.status, message.attempts,
            message.segments, round(message.segments * price, 2), message.provider_id, message.dedupe_key or "",
            sent, delivered, message.error,
        )  # fmt: skip
        yield str(writer.writerow([_inert(value) for value in row]))


def _inert(value: object) -> object:
    """Put an apostrophe before a text that a spreadsheet program would run as a formula.

    Error texts come from the provider, so they are not trusted.
    """
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
