"""Lists of the admin as CSV files for a spreadsheet."""

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
    """A file for `csv.writer` that returns each line instead of keeping it."""

    def write(self, line: str) -> str:
        return line


def response(name: str, rows: "QuerySet[Any]", columns: Columns) -> StreamingHttpResponse:
    """Return the rows as a file. Lines are made one by one from a cursor, so that memory does not grow."""
    return StreamingHttpResponse(
        _lines(rows, columns),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}-{timezone.localtime():%Y%m%d-%H%M}.csv"'},
    )


def _lines(rows: "QuerySet[Any]", columns: Columns) -> Iterable[str]:
    writer = csv.writer(_Line())
    # A byte order mark tells spreadsheets that this is UTF-8.
    yield "\ufeff" + str(writer.writerow(columns))
    for row in rows.iterator(chunk_size=_CHUNK):
        yield str(writer.writerow([_cell(value(row)) for value in columns.values()]))


def _cell(value: object) -> object:
    """Write times as ISO 8601 in the site's zone. Quote text that a spreadsheet would read as a formula."""
    if isinstance(value, datetime):
        return timezone.localtime(value).isoformat(timespec="seconds")
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value
