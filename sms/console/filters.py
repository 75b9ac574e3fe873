"""Sidebar filters for the admin list of messages."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from sms import clock
from sms.models import SmsMessage
from sms.stats import failures

_HOUR, _DAY = 3600, 86400


class KindFilter(admin.SimpleListFilter):
    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind or "-", kind or "plain") for kind in kinds()]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        value = self.value()
        return queryset if value is None else queryset.filter(kind="" if value == "-" else value)


def kinds() -> list[str]:
    """Return the distinct kinds of messages in the table.

    The recursive query makes one index lookup per kind. SELECT DISTINCT would read the whole index.
    """
    table = connection.ops.quote_name(SmsMessage._meta.db_table)
    sql = f"""
        WITH RECURSIVE found(kind) AS (
            SELECT MIN(kind) FROM {table}
            UNION ALL SELECT (SELECT MIN(kind) FROM {table} WHERE kind > found.kind) FROM found WHERE kind IS NOT NULL
        ) SELECT kind FROM found WHERE kind IS NOT NULL
    """  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [row[0] for row in cursor.fetchall()]


class WhenFilter(admin.SimpleListFilter):
    title = _("time")
    parameter_name = "within"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            (str(_HOUR), gettext("the last hour")),
            (str(_DAY), gettext("the last day")),
            (str(7 * _DAY), gettext("the last week")),
            (str(30 * _DAY), gettext("the last month")),
        ]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        value = self.value() or ""
        if value not in dict(self.lookup_choices):
            return queryset
        return queryset.filter(created_at__gte=clock.now() - timedelta(seconds=int(value)))


class ReasonFilter(admin.SimpleListFilter):
    """Filter by the reason of a failure: its error text, with `…` in place of ids and durations."""

    title = _("reason")
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = request.GET.get(self.parameter_name)
        return [] if chosen is None else [(chosen, chosen or "none given")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        value = self.value()
        return queryset if value is None else failures.with_reason(queryset, value)
