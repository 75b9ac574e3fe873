"""Export the admin's lists as CSV files for spreadsheets."""

import csv
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone

_CHUNK = 1000
Columns = Mapping[str, Callable[[Any], object]]


class _Line:
    """A file-like object for `csv.writer` whose `write` returns the line."""

    def write(self, line: str) -> str:
        return line


def response(name: str, rows: "QuerySet[Any]", columns: Columns) -> StreamingHttpResponse:
    """Return the rows as a CSV file, streamed row by row so that a large file needs little memory."""
    return StreamingHttpResponse(
        _lines(rows, columns),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}-{timezone.localtime():%Y%m%d-%H%M}.csv"'},
    )


def _lines(rows: "QuerySet[Any]", columns: Columns) -> Iterable[str]:
    writer = csv.writer(_Line())
    # The file starts with a byte order mark, so that spreadsheet programs read it as UTF-8.
    yield "\ufeff" + str(writer.writerow(columns))
    for row in rows.iterator(chunk_size=_CHUNK):
        yield str(writer.writerow([_cell(value(row)) for value in columns.values()]))


def _cell(value: object) -> object:
    """Return a value for a CSV cell. Times are in ISO 8601 and in the site's time zone.

    A text that a spreadsheet would run as a formula gets a leading quote.
    """
    if isinstance(value, datetime):
        return timezone.localtime(value).isoformat(timespec="seconds")
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value
