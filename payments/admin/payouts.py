"""The admin's lists of payouts and of match results."""

from typing import Any

from django.contrib import admin
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, HttpResponse

from payments import phones, refunds
from payments.admin import actions, wording
from payments.admin.base import ReadOnlyAdmin, for_whom
from payments.admin.filters import PrizeFilter
from payments.models import MatchResult, Refund


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin):
    list_display = ("ordered_at", "kind", "payment", "shown_amount", "how", "state", "by", "note", "ended_at")
    list_filter = ("state", "kind", "how")
    list_select_related = ("payment",)
    search_fields = ("reference",)
    search_help_text = "Our reference, the provider's ID, or the payment's transaction ID"
    actions = ("went_out", "stayed", "payout_returned", "withdraw_refund")
    csv_columns = {  # noqa: RUF012
        "id": lambda refund: refund.pk,
        "ordered_at": lambda refund: refund.ordered_at,
        "kind": lambda refund: refund.kind,
        "payment": lambda refund: refund.payment.transaction_id,
        "amount_ugx": lambda refund: refund.amount,
        "how": lambda refund: refund.how,
        "state": lambda refund: refund.state,
        "reference": lambda refund: refund.reference,
        "provider_id": lambda refund: refund.provider_id,
        "ordered_by": lambda refund: refund.actor,
        "note": lambda refund: refund.note,
        "ended_at": lambda refund: refund.ended_at,
    }

    @admin.display(description="ordered by")
    def by(self, refund: Refund) -> str:
        return "the system" if refund.actor == refunds.AUTOMATIC else refund.actor

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        return queryset.filter(Q(reference=term) | Q(provider_id=term) | Q(payment__transaction_id=term)), False

    @admin.action(description="Mark as paid out", permissions=["refund"])
    def went_out(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return actions.confirmed(actions.WENT_OUT, self, request, queryset)

    @admin.action(description="Mark as not paid out", permissions=["refund"])
    def stayed(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return actions.confirmed(actions.STAYED, self, request, queryset)

    @admin.action(description="Record that the payout was returned", permissions=["refund"])
    def payout_returned(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return actions.confirmed(actions.RETURNED, self, request, queryset)

    @admin.action(description="Take back the order", permissions=["refund"])
    def withdraw_refund(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return actions.confirmed(actions.WITHDRAW, self, request, queryset)


@admin.register(MatchResult)
class MatchResultAdmin(ReadOnlyAdmin):
    """The results of matches, with actions to pay the prizes."""

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
    actions = ("pay_prize", "prize_by_hand", "house_pays")
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
    csv_columns = {  # noqa: RUF012
        "id": lambda result: result.pk,
        "recorded_at": lambda result: result.recorded_at,
        "match": lambda result: _match(result),
        "outcome": lambda result: result.outcome,
        "winner": lambda result: result.winner.transaction_id if result.winner else "",
        "prize_ugx": lambda result: result.amount if result.winner else "",
        "prize": lambda result: wording.PRIZES[result.prize],
        "recorded_by": lambda result: result.recorded_by,
        "note": lambda result: result.note,
    }

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return for_whom(request, self.list_display)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return for_whom(request, self.fields)

    @admin.display(description="match")
    def match(self, result: MatchResult) -> str:
        return _match(result)

    @admin.display(description="winner")
    def masked_phone(self, result: MatchResult) -> str:
        return phones.masked_spaced(result.winner.phone) if result.winner else ""

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
        """Add `amount` to each result: the prize, which is both stakes without fees."""
        stakes = F("first__amount") - F("first__fee") + F("second__amount") - F("second__fee")
        rows: QuerySet[Any] = super().get_queryset(request)
        results: QuerySet[Any] = rows.annotate(amount=stakes)
        return results

    @admin.action(description="Pay the prize", permissions=["refund"])
    def pay_prize(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return actions.confirmed(actions.PAY_PRIZE, self, request, queryset)

    @admin.action(description="Record a prize paid by hand", permissions=["refund"])
    def prize_by_hand(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return actions.confirmed(actions.PRIZE_BY_HAND, self, request, queryset)

    @admin.action(description="Let the house pay the missing share", permissions=["refund"])
    def house_pays(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return actions.confirmed(actions.HOUSE_PAYS, self, request, queryset)


def _match(result: MatchResult) -> str:
    """Return the match's number from the result's key, `session:<number>`."""
    return result.key.rpartition(":")[2]
