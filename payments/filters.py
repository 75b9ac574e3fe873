"""What the admin's lists of payments and callbacks can be narrowed to."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from payments import books, refunding
from payments.models import Payment, Refund


class RefundFilter(admin.SimpleListFilter):
    title = "refund"
    parameter_name = "refund"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("due", "due"),
            ("under_way", "under way"),
            ("in_doubt", "in doubt"),
            ("failed", "refused"),
            ("done", "done"),
        ]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        state = Refund.State
        chosen = {
            "due": Q(pk__in=refunding.due().values("pk")),
            "under_way": Q(refunds__state__in=(state.ORDERED, state.STARTED)),
            "in_doubt": Q(refunds__state=state.IN_DOUBT),
            "failed": Q(refunds__state=state.FAILED, refunded_at=None),
            "done": Q(refunded_at__isnull=False),
        }.get(self.value() or "")
        return queryset if chosen is None else queryset.filter(chosen).distinct()


class CollectionFilter(admin.SimpleListFilter):
    title = "our asking"
    parameter_name = "collection"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, label) for value, label in Payment.Collection.choices if value]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        value = self.value()
        return queryset.filter(collection=value) if value in Payment.Collection.values else queryset


class TodayFilter(admin.SimpleListFilter):
    """Where the money is that was collected today."""

    title = "today's money"
    parameter_name = "today"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("collected", "all of it"), *books.Place.choices]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        value = self.value()
        if value not in dict(self.lookup_choices):
            return queryset
        today = books.collected_on(timezone.localdate(), queryset)
        return today if value == "collected" else today.annotate(place=books.place()).filter(place=value)


class RefusedFilter(admin.SimpleListFilter):
    title = "refused"
    parameter_name = "refused"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("unreadable", "could not be read"), ("refused", "does not fit a payment"), ("no", "no")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        chosen = {
            "unreadable": ~Q(refusal="") & Q(answered=400),
            "refused": ~Q(refusal="") & ~Q(answered=400),
            "no": Q(refusal=""),
        }.get(self.value() or "")
        return queryset if chosen is None else queryset.filter(chosen)
