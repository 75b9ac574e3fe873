"""The admin's lists of payouts and of match results."""

from typing import Any

from django.contrib import admin
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest

from payments import phones, refunds
from payments.admin import actions, wording
from payments.admin.base import PaymentsAdmin, SearchByValue
from payments.admin.filters import PrizeFilter
from payments.models import MatchResult, Refund


def _match(result: MatchResult) -> str:
    """Return the number of the match from the result's key, `session:<number>`."""
    return result.key.rpartition(":")[2]


@admin.register(Refund)
class RefundAdmin(SearchByValue, PaymentsAdmin):
    list_display = ("ordered_at", "kind", "payment", "shown_amount", "how", "state", "by", "note", "ended_at")
    list_filter = ("state", "kind", "how")
    list_select_related = ("payment",)
    search_fields = ("reference",)
    search_help_text = "Our reference, the provider's ID, or the payment's transaction ID"
    actions = (actions.WENT_OUT, actions.STAYED, actions.RETURNED, actions.WITHDRAW)
    csv_columns = {
        "id": "pk",
        "ordered_at": "ordered_at",
        "kind": "kind",
        "payment": "payment.transaction_id",
        "amount_ugx": "amount",
        "how": "how",
        "state": "state",
        "reference": "reference",
        "provider_id": "provider_id",
        "ordered_by": "actor",
        "note": "note",
        "ended_at": "ended_at",
    }

    @admin.display(description="ordered by")
    def by(self, refund: Refund) -> str:
        return "the system" if refund.actor == refunds.AUTOMATIC else refund.actor

    def condition(self, term: str) -> Q:
        return Q(reference=term) | Q(provider_id=term) | Q(payment__transaction_id=term)


@admin.register(MatchResult)
class MatchResultAdmin(PaymentsAdmin):
    """The results of matches, with actions to pay their prizes."""

    list_display = (
        "recorded_at",
        "match",
        "outcome",
        "masked_phone",
        "shown_amount",
        "prize_state",
        "recorded_by",
        "note",
    )
    list_filter = (PrizeFilter, "outcome")
    list_select_related = ("winner",)
    sortable_by = ()
    actions = (actions.PAY_PRIZE, actions.PRIZE_BY_HAND, actions.HOUSE_PAYS)
    fields = (
        "recorded_at",
        "match",
        "outcome",
        "first",
        "second",
        "winner",
        "masked_phone",
        "shown_amount",
        "prize_state",
        "recorded_by",
        "note",
    )
    readonly_fields = (*fields, "full_phone")
    csv_columns = {
        "id": "pk",
        "recorded_at": "recorded_at",
        "match": _match,
        "outcome": "outcome",
        "winner": lambda result: result.winner.transaction_id if result.winner else "",
        "prize_ugx": lambda result: result.amount if result.winner else "",
        "prize": lambda result: wording.PRIZES[result.prize],
        "recorded_by": "recorded_by",
        "note": "note",
    }

    @admin.display(description="match")
    def match(self, result: MatchResult) -> str:
        return _match(result)

    @admin.display(description="winner")
    def masked_phone(self, result: MatchResult) -> str:
        return phones.masked(result.winner.phone) if result.winner else ""

    @admin.display(description="winner")
    def full_phone(self, result: MatchResult) -> str:
        return phones.spaced(result.winner.phone) if result.winner else ""

    @admin.display(description="prize")
    def shown_amount(self, result: Any) -> str:
        return f"{result.amount:,} UGX" if result.winner_id else ""

    @admin.display(description="state of the prize")
    def prize_state(self, result: MatchResult) -> str:
        return wording.PRIZES[result.prize]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        """Add the prize to each result as `amount`: the sum of both stakes without their fees."""
        stakes = F("first__amount") - F("first__fee") + F("second__amount") - F("second__fee")
        rows: QuerySet[Any] = super().get_queryset(request)
        results: QuerySet[Any] = rows.annotate(amount=stakes)
        return results
