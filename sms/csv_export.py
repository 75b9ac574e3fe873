"""Export an admin list as a CSV file for spreadsheets."""

import csv
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils import timezone

_CHUNK = 1000


class CsvExport(admin.ModelAdmin):
    """An admin that offers the whole filtered list as a CSV file, at the URL `export/`.

    `csv_columns`: maps the heading of each column to an attribute (`payment.transaction_id`) or a function of the row.
    """

    csv_columns: Mapping[str, str | Callable[[Any], object]]
    change_list_template = "admin/csv_list.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.export)
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        return [path("export/", view, name=name), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {"export_query": request.GET.urlencode(), **(extra_context or {})}
        return super().changelist_view(request, context)

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """Return the CSV file. It is streamed from a database cursor, so that a large file needs little memory."""
        if not self.has_view_permission(request):
            return HttpResponse("You may not see this list.", status=403, content_type="text/plain")
        try:
            rows = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return HttpResponse("A filter in the address is not valid.", status=400, content_type="text/plain")
        name = f"{self.opts.model_name}-{timezone.localtime():%Y%m%d-%H%M}.csv"
        return StreamingHttpResponse(
            _lines(rows, self.csv_columns),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


class _Line:
    """A write-only file object for `csv.writer`. Its `write` returns the line, so that `writerow` returns it too."""

    def write(self, line: str) -> str:
        return line


def _lines(rows: "QuerySet[Any]", columns: Mapping[str, str | Callable[[Any], object]]) -> Iterable[str]:
    writer = csv.writer(_Line())
    # A byte order mark tells spreadsheet programs that the file is UTF-8.
    yield "\ufeff" + str(writer.writerow(columns))
    values = [attrgetter(value) if isinstance(value, str) else value for value in columns.values()]
    for row in rows.iterator(chunk_size=_CHUNK):
        yield str(writer.writerow([_cell(value(row)) for value in values]))


def _cell(value: object) -> object:
    """Format a value for the CSV file. An apostrophe keeps spreadsheet programs from running a text as a formula."""
    if isinstance(value, datetime):
        return timezone.localtime(value).isoformat(timespec="seconds")
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value
