"""Filters of the admin's lists of payments and callbacks."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from payments import books, refunds
from payments.models import Payment, Refund

# At most this many due payments are listed.
_MOST = 10_000


class RefundFilter(admin.SimpleListFilter):
    title = "refund"
    parameter_name = "refund"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("due", "due"),
            ("under_way", "under way"),
            ("in_doubt", "outcome unknown"),
            ("failed", "rejected"),
            ("done", "done"),
        ]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        state, value = Refund.State, self.value()
        if value == "due":
            # The keys are read once, because the count and the page would each search for them.
            keys = [key for part in refunds.due_in_parts() for key in part.values_list("pk", flat=True)[:_MOST]]
            return queryset.filter(pk__in=keys)
        chosen = {
            "under_way": _with_refund(state.ORDERED, state.STARTED),
            "in_doubt": _with_refund(state.IN_DOUBT),
            "failed": _with_refund(state.FAILED) & Q(refunded_at=None),
            "done": Q(refunded_at__isnull=False),
        }.get(value or "")
        return queryset if chosen is None else queryset.filter(chosen)


def _with_refund(*states: Refund.State) -> Q:
    """Filter by keys, because a join would list a payment once per refund."""
    return Q(pk__in=Refund.objects.filter(state__in=states).values("payment"))


class NetworkFilter(admin.SimpleListFilter):
    """Offers every known network, because DISTINCT would read the whole table."""

    title = parameter_name = "network"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(network, network) for network in settings.NETWORK_PREFIXES]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        return queryset.filter(network=self.value()) if self.value() else queryset


class CollectionFilter(admin.SimpleListFilter):
    title = "payment request"
    parameter_name = "collection"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, label) for value, label in Payment.Collection.choices if value]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        value = self.value()
        return queryset.filter(collection=value) if value in Payment.Collection.values else queryset


class TodayFilter(admin.SimpleListFilter):
    """The present place of the money that was collected today."""

    title = "today's money"
    parameter_name = "today"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("collected", "all of it"), *books.Place.choices]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        value = self.value()
        if value not in dict(self.lookup_choices):
            return queryset
        today = books.collected_on(timezone.localdate(), queryset)
        return today if value == "collected" else today.annotate(whereabouts=books.place()).filter(whereabouts=value)


class RefusedFilter(admin.SimpleListFilter):
    title = "rejected"
    parameter_name = "refused"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("unreadable", "unreadable, not seen yet"),
            ("refused", "rejected, not seen yet"),
            ("seen", "seen"),
            ("no", "no"),
        ]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        chosen = {
            "unreadable": ~Q(refusal="") & Q(answered=400, seen_at=None),
            "refused": ~Q(refusal="") & ~Q(answered=400) & Q(seen_at=None),
            "seen": Q(seen_at__isnull=False),
            "no": Q(refusal=""),
        }.get(self.value() or "")
        return queryset if chosen is None else queryset.filter(chosen)
