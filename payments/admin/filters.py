"""Filters for the admin's lists of payments, match results, callbacks, journal entries and ledger entries."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from payments import ledger, refunds
from payments.admin import wording
from payments.admin.base import LabeledFilter
from payments.models import Payment, Refund
from payments.rules.payment import IN_USE
from payments.rules.states import Place

# The filter "due" shows at most this many payments from each of the two queries of `refunds.due_in_parts`.
_MOST = 10_000


class RefundFilter(LabeledFilter):
    title = "refund"
    parameter_name = "refund"
    labels = {
        "due": "due",
        "under_way": "under way",
        "in_doubt": "outcome unknown",
        "failed": "rejected",
        "done": "done",
    }

    def condition(self, value: str) -> Q:
        if value == "due":
            # Read the ids once. Otherwise the page and its row count would each run this search.
            return Q(
                pk__in=[key for part in refunds.due_in_parts() for key in part.values_list("pk", flat=True)[:_MOST]]
            )
        state = Refund.State
        return {
            "under_way": _with_refund(state.ORDERED, state.STARTED),
            "in_doubt": _with_refund(state.IN_DOUBT),
            "failed": _with_refund(state.FAILED) & Q(refunded_at=None),
            "done": Q(refunded_at__isnull=False),
        }[value]


def _with_refund(*states: Refund.State) -> Q:
    """Return a condition for payments with a payout in one of these states."""
    # A subquery, because a join could list a payment twice.
    return Q(pk__in=Refund.objects.filter(state__in=states).values("payment"))


class PaidFilter(LabeledFilter):
    title = "payment"
    parameter_name = "status"
    labels = wording.STATUSES


class NetworkFilter(LabeledFilter):
    title = parameter_name = "network"

    @property
    def labels(self) -> Mapping[str, str]:  # type: ignore[override]
        return {network.lower(): network for network in settings.NETWORK_PREFIXES}


class CollectionFilter(LabeledFilter):
    title = "payment request"
    parameter_name = "collection"
    labels = {
        **{value: label for value, label in Payment.Collection.choices if value},
        "unanswered": "notification not confirmed for a day",
        "unknown_word": "unknown status word",
    }

    def condition(self, value: str) -> Q:
        if value == "unknown_word":
            return ledger.unknown_words()
        if value == "unanswered":
            return Q(answer_owed_since__lte=timezone.now() - timedelta(days=1))
        return Q(collection=value)


class PlaceFilter(LabeledFilter):
    title = "money"
    parameter_name = "place"
    labels = {
        "in_use": "received, waiting or in a match",
        **{
            place.value: wording.PLACES[place.value]
            for place in Place
            if place is not Place.NONE and place not in IN_USE
        },
    }


class RefusedFilter(LabeledFilter):
    title = "rejected"
    parameter_name = "refused"
    labels = {"unreadable": "unreadable, not seen yet", "refused": "rejected, not seen yet", "seen": "seen", "no": "no"}

    def condition(self, value: str) -> Q:
        return {
            "unreadable": ~Q(refusal="") & Q(answered=400, seen_at=None),
            "refused": ~Q(refusal="") & ~Q(answered=400) & Q(seen_at=None),
            "seen": Q(seen_at__isnull=False),
            "no": Q(refusal=""),
        }[value]


class KindFilter(LabeledFilter):
    title = "what happened"
    parameter_name = "kind"
    labels = {kind.value: words for kind, words in wording.EVENTS.items()}


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
        """Return the date in a URL parameter, or None if the date is invalid or outside the years 2000 to 2999."""
        with suppress(ValueError):
            day = date.fromisoformat(text or "")
            # Near the limits of Python's `date`, the next day may not exist.
            return day if 2000 <= day.year < 3000 else None
        return None

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        day = self.chosen(self.value())
        if day is None:
            return queryset
        start, end = ledger.bounds(day)
        return queryset.filter(**{f"{self.field}__gte": start, f"{self.field}__lt": end})


class BookedDayFilter(DayFilter):
    """A filter for ledger entries by day. It uses the stored hour of each posting, as the daily totals do."""

    field = "hour"


class AccountFilter(LabeledFilter):
    title = parameter_name = "account"
    labels = {account.value: words for account, words in wording.ACCOUNTS.items()}

    def condition(self, value: str) -> Q:
        return Q(debit=value) | Q(credit=value)


class FlowFilter(LabeledFilter):
    """A filter for the ledger entries that add up to one figure of the daily totals."""

    title = "figure"
    parameter_name = "flow"
    labels = {name: flow.label for name, flow in ledger.FLOWS.items()}

    def condition(self, value: str) -> Q:
        flow = ledger.FLOWS[value]
        return Q(debit__in=[account.value for account in flow.debit]) & Q(
            credit__in=[account.value for account in flow.credit]
        )


class PrizeFilter(LabeledFilter):
    title = parameter_name = "prize"
    labels = {state: words for state, words in wording.PRIZES.items() if state}
