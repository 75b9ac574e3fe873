"""The list of messages as CSV: enough to reconcile DMark's bill, without bodies, links or full phone numbers."""

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
    """A file for `csv.writer` that returns each line instead of keeping it."""

    def write(self, line: str) -> str:
        return line


def lines(rows: "QuerySet[SmsMessage]") -> Iterable[str]:
    """Yield the CSV line by line from a cursor, so that memory does not grow. Times are ISO 8601 in the site's zone."""
    writer = csv.writer(_Line())
    price = conf.current().segment_cost
    # A byte order mark tells spreadsheets that this is UTF-8.
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
    """Prefix a quote if a spreadsheet would read the text, such as a provider's error, as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
