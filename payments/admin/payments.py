"""The admin's list of payments, and the page of one payment with its events, payouts and callbacks."""

from typing import Any

from django.contrib import admin
from django.db.models import Case, QuerySet, When
from django.http import HttpRequest, HttpResponse

from payments import phones, refunds
from payments.admin import actions, wording
from payments.admin.base import SEARCHED, ReadOnly, ReadOnlyAdmin, body_for, for_whom, found
from payments.admin.filters import CollectionFilter, NetworkFilter, PaidFilter, PlaceFilter, RefundFilter
from payments.admin.journal import EventColumns
from payments.models import Callback, Exchange, Payment, PaymentEvent, Refund


class CallbackInline(ReadOnly, admin.TabularInline):
    model = Callback
    extra = 0
    fields = ("received_at", "source", "status", "applied", "answered", "refusal", "shown_body")
    readonly_fields = (*fields, "body")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return body_for(request, self.fields)

    @admin.display(description="body")
    def shown_body(self, callback: Callback) -> str:
        return phones.hidden(callback.body)


class ExchangeInline(ReadOnly, admin.TabularInline):
    """Requests to the provider, made before the journal existed."""

    model = Exchange
    extra = 0
    fields = readonly_fields = ("at", "step", "outcome", "http_status", "words", "answer", "ms")


class EventInline(EventColumns, ReadOnly, admin.TabularInline):
    model = PaymentEvent
    fk_name = "payment"
    extra = 0
    show_change_link = True
    fields = ("at", "what", "word", "by", "note", "unchanged", "money", "shown_answer")
    readonly_fields = (*fields, "answer")


class RefundInline(ReadOnly, admin.TabularInline):
    model = Refund
    extra = 0
    show_change_link = True
    fields = readonly_fields = ("ordered_at", "amount", "how", "state", "actor", "note", "reason", "ended_at")


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "masked_phone", "shown_amount", "state", "transaction_id", "settled_at")
    list_display_links = ("created_at", "transaction_id")
    list_filter = (PaidFilter, CollectionFilter, RefundFilter, PlaceFilter, "contested", NetworkFilter)
    search_fields = ("phone",)
    search_help_text = SEARCHED
    sortable_by = ("created_at",)
    actions = ("refund", "mark_refunded", "settle_paid", "settle_unpaid", "end_contest", "contest_gone")
    inlines = (RefundInline, EventInline, CallbackInline, ExchangeInline)
    fields = (
        "transaction_id",
        "masked_phone",
        "network",
        "shown_amount",
        "state",
        "meaning",
        "to_do",
        "provider_id",
        "reason",
        "settled_by",
        "created_at",
        "asked_at",
        "asks",
        "last_ask_at",
        "next_ask_at",
        "settled_at",
        "collected_at",
        "contested_at",
        "refunded_at",
    )

    readonly_fields = (*fields, "full_phone")
    csv_columns = {  # noqa: RUF012
        "id": lambda payment: payment.pk,
        "created_at": lambda payment: payment.created_at,
        "phone": lambda payment: phones.masked(payment.phone).lstrip("+"),
        "amount_ugx": lambda payment: payment.amount,
        "state": lambda payment: _state(payment),
        "transaction_id": lambda payment: payment.transaction_id,
        "provider_id": lambda payment: payment.provider_id,
        "settled_at": lambda payment: payment.settled_at,
        "refunded_at": lambda payment: payment.refunded_at,
    }

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return for_whom(request, self.list_display)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return for_whom(request, self.fields)

    @admin.display(description="phone")
    def masked_phone(self, payment: Payment) -> str:
        return phones.masked_spaced(payment.phone)

    @admin.display(description="phone")
    def full_phone(self, payment: Payment) -> str:
        return phones.spaced(payment.phone)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        rows: QuerySet[Any] = super().get_queryset(request)
        # This condition joins each payment's entry by an index. A subquery would first find all payments due for
        # refund.
        return rows.annotate(is_due=Case(When(refunds.owed(), then=True), default=False))  # type: ignore[no-any-return]

    @admin.display(description="state")
    def state(self, payment: Payment) -> str:
        return _state(payment)

    @admin.display(description="meaning")
    def meaning(self, payment: Payment) -> str:
        return wording.meaning(payment, *_refund(payment))

    @admin.display(description="next step")
    def to_do(self, payment: Payment) -> str:
        return wording.to_do(payment, *_refund(payment)) or "Nothing."

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        term = search_term.strip().replace("\0", "")
        # The ids are found first. One query could not use an index for the search and another index for the order.
        return (queryset.filter(pk__in=found(term)) if term else queryset), False

    @admin.action(description="Refund by payout", permissions=["refund"])
    def refund(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return actions.confirmed(actions.REFUND, self, request, queryset)

    @admin.action(description="Record a manual refund", permissions=["refund"])
    def mark_refunded(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return actions.confirmed(actions.BY_HAND, self, request, queryset)

    @admin.action(description="Mark as paid", permissions=["settle"])
    def settle_paid(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return actions.confirmed(actions.PAID, self, request, queryset)

    @admin.action(description="Mark as not paid", permissions=["settle"])
    def settle_unpaid(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return actions.confirmed(actions.UNPAID, self, request, queryset)

    @admin.action(description="Close dispute: payment received", permissions=["settle"])
    def end_contest(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return actions.confirmed(actions.END_CONTEST, self, request, queryset)

    @admin.action(description="Record that the provider took the money back", permissions=["settle"])
    def contest_gone(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return actions.confirmed(actions.CONTEST_GONE, self, request, queryset)


def _refund(payment: Payment) -> tuple[Refund | None, bool]:
    """Return the payment's latest refund (or None), and True if its money is due for refund now."""
    return payment.refunds.first(), refunds.due().filter(pk=payment.pk).exists()


def _state(payment: Payment) -> str:
    """Return the state of a payment in words. In the list, the query has already set `is_due`."""
    if payment.refunded_at is not None:
        return "refunded"
    if payment.contested and payment.status == Payment.Status.SUCCESS:
        return "disputed"
    if getattr(payment, "is_due", payment.refund_due):
        return "refund due"
    if payment.place in ("lost", "prize", "prize_transit", "prize_paid"):
        return wording.PLACES[payment.place]
    if wording.is_taken_back(payment):
        return "taken back by the provider"
    words = wording.STATUSES[payment.status]
    return _REQUESTED.get(str(payment.collection), words) if payment.status == Payment.Status.PENDING else words


_REQUESTED: dict[str, str] = {
    Payment.Collection.ASKED: "payment requested",
    Payment.Collection.IN_DOUBT: "unknown if requested",
    Payment.Collection.UNRESOLVED: "no answer for a day",
    Payment.Collection.WITHDRAWN: "withdrawn before it was requested",
}
