"""Filters for the admin's lists of payments, callbacks, journal entries and ledger entries."""

from contextlib import suppress
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from payments import ledger, refunds, settlement
from payments.admin import wording
from payments.models import Payment, Refund
from payments.rules.payment import IN_USE
from payments.rules.states import Account, Kind, Place

# Longest result of the filter for refunds due, in payments.
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
            # The ids are read only once, because the page uses this queryset for its rows and for their number.
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
    """Return a condition for payments that have a refund in one of these states.

    A join instead of this subquery could list a payment twice.
    """
    return Q(pk__in=Refund.objects.filter(state__in=states).values("payment"))


class PaidFilter(admin.SimpleListFilter):
    title = "payment"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(wording.STATUSES.items())

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        return queryset.filter(status=self.value()) if self.value() in wording.STATUSES else queryset


class NetworkFilter(admin.SimpleListFilter):
    """A filter by mobile network.

    All known networks are offered. Finding the networks in use would need a DISTINCT over the whole table.
    """

    title = parameter_name = "network"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(network, network) for network in settings.NETWORK_PREFIXES]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        return queryset.filter(network=self.value()) if self.value() else queryset


class CollectionFilter(admin.SimpleListFilter):
    title = "payment request"
    parameter_name = "collection"
    OTHERS = (("unanswered", "notification not confirmed for a day"), ("unknown_word", "unknown status word"))

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        labels = [(value, label) for value, label in Payment.Collection.choices if value]
        return [*labels, *self.OTHERS]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        value = self.value()
        if value == "unknown_word":
            return queryset.filter(settlement.unknown_words())
        if value == "unanswered":
            return queryset.filter(answer_owed_since__lte=timezone.now() - timedelta(days=1))
        return queryset.filter(collection=value) if value in Payment.Collection.values else queryset


class PlaceFilter(admin.SimpleListFilter):
    title = "money"
    parameter_name = "place"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        places = [place.value for place in Place if place is not Place.NONE and place not in IN_USE]
        words = ((place, wording.PLACES[place]) for place in places)
        return [("in_use", "received, waiting or in a match"), *words]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        value = self.value()
        return queryset.filter(place=value) if value in dict(self.lookup_choices) else queryset


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


class KindFilter(admin.SimpleListFilter):
    title = "what happened"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind.value, words) for kind, words in wording.EVENTS.items()]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        value = self.value()
        return queryset.filter(kind=value) if value in {kind.value for kind in Kind} else queryset


class DayFilter(admin.SimpleListFilter):
    """A filter by day in the site's time zone: today, yesterday, or a date such as 2026-01-31 in the URL."""

    title = parameter_name = "day"
    field = "at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        today = timezone.localdate()
        days = {str(today): "today", str(today - timedelta(days=1)): "yesterday"}
        chosen = self.chosen(request.GET.get("day"))
        return list((days if chosen is None else {str(chosen): f"{chosen:%d %b %Y}"} | days).items())

    @staticmethod
    def chosen(text: str | None) -> date | None:
        """Return the date in a URL parameter, or None if it is not a valid date."""
        with suppress(ValueError):
            day = date.fromisoformat(text or "")
            # Dates near the limits of Python's `date` are refused, because the next day may not exist.
            return day if 2000 <= day.year < 3000 else None
        return None

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        day = self.chosen(self.value())
        if day is None:
            return queryset
        start, end = ledger.bounds(day)
        return queryset.filter(**{f"{self.field}__gte": start, f"{self.field}__lt": end})


class BookedDayFilter(DayFilter):
    """A filter for ledger entries by day. It uses the hour of the posting, as the daily totals do."""

    field = "hour"


class AccountFilter(admin.SimpleListFilter):
    title = parameter_name = "account"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(account.value, words) for account, words in wording.ACCOUNTS.items()]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        value = self.value()
        known = value in {account.value for account in Account}
        return queryset.filter(Q(debit=value) | Q(credit=value)) if known else queryset


class FlowFilter(admin.SimpleListFilter):
    """A filter that shows the ledger entries behind one figure of the daily totals."""

    title = "figure"
    parameter_name = "flow"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, flow.label) for name, flow in ledger.FLOWS.items()]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        flow = ledger.FLOWS.get(self.value() or "")
        if flow is None:
            return queryset
        return queryset.filter(
            debit__in=[account.value for account in flow.debit], credit__in=[account.value for account in flow.credit]
        )


class PrizeFilter(admin.SimpleListFilter):
    title = parameter_name = "prize"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, words) for state, words in wording.PRIZES.items() if state]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        value = self.value()
        return queryset.filter(prize=value) if value in wording.PRIZES and value else queryset
