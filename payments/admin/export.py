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
    """A file-like object for `csv.writer` that returns each line instead of storing it."""

    def write(self, line: str) -> str:
        return line


def response(name: str, rows: "QuerySet[Any]", columns: Columns) -> StreamingHttpResponse:
    """Return the rows as a CSV file. It is streamed from a database cursor, so that large lists need no more memory."""
    return StreamingHttpResponse(
        _lines(rows, columns),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}-{timezone.localtime():%Y%m%d-%H%M}.csv"'},
    )


def _lines(rows: "QuerySet[Any]", columns: Columns) -> Iterable[str]:
    writer = csv.writer(_Line())
    # Begin with a byte order mark, by which spreadsheet programs recognize UTF-8.
    yield "\ufeff" + str(writer.writerow(columns))
    for row in rows.iterator(chunk_size=_CHUNK):
        yield str(writer.writerow([_cell(value(row)) for value in columns.values()]))


def _cell(value: object) -> object:
    """Return a value for the CSV file: a time in ISO 8601 in the site's time zone, or a text.

    A text that a spreadsheet would read as a formula is quoted.
    """
    if isinstance(value, datetime):
        return timezone.localtime(value).isoformat(timespec="seconds")
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value
