"""The admin's list of payments, and the page of one payment with its events, payouts and callbacks."""

from typing import Any

from django.contrib import admin
from django.db.models import Case, Q, QuerySet, When
from django.http import HttpRequest

from payments import phones, refunds
from payments.admin import actions, wording
from payments.admin.base import SEARCHED, PaymentsAdmin, ReadOnly, SearchByValue, found
from payments.admin.filters import CollectionFilter, NetworkFilter, PaidFilter, PlaceFilter, RefundFilter
from payments.admin.journal import EventColumns
from payments.models import Callback, Exchange, Payment, PaymentEvent, Refund


class CallbackInline(ReadOnly, admin.TabularInline):
    model = Callback
    extra = 0
    fields = ("received_at", "source", "status", "applied", "answered", "refusal", "shown_body")
    readonly_fields = (*fields, "body")

    @admin.display(description="body")
    def shown_body(self, callback: Callback) -> str:
        return phones.hidden(callback.body)


class ExchangeInline(ReadOnly, admin.TabularInline):
    """Requests to the provider that were made by releases without a payment journal."""

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


_REQUESTED: dict[str, str] = {
    Payment.Collection.ASKED: "payment requested",
    Payment.Collection.IN_DOUBT: "unknown if requested",
    Payment.Collection.UNRESOLVED: "no answer for a day",
    Payment.Collection.WITHDRAWN: "withdrawn before it was requested",
}


def _state(payment: Payment) -> str:
    """Return the state of a payment in words. The annotation `is_due`, if any, replaces the column `refund_due`."""
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


@admin.register(Payment)
class PaymentAdmin(SearchByValue, PaymentsAdmin):
    list_display = ("created_at", "masked_phone", "shown_amount", "state", "transaction_id", "settled_at")
    list_display_links = ("created_at", "transaction_id")
    list_filter = (PaidFilter, CollectionFilter, RefundFilter, PlaceFilter, "contested", NetworkFilter)
    search_fields = ("phone",)
    search_help_text = SEARCHED
    sortable_by = ("created_at",)
    actions = (actions.REFUND, actions.BY_HAND, actions.PAID, actions.UNPAID, actions.END_CONTEST, actions.CONTEST_GONE)
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
    csv_columns = {
        "id": "pk",
        "created_at": "created_at",
        "phone": lambda payment: phones.mask_phone(payment.phone).lstrip("+"),
        "amount_ugx": "amount",
        "state": _state,
        "transaction_id": "transaction_id",
        "provider_id": "provider_id",
        "settled_at": "settled_at",
        "refunded_at": "refunded_at",
    }

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        rows: QuerySet[Any] = super().get_queryset(request)
        # The condition `refunds.owed()` needs only a join. A subquery on `refunds.due()` would first find all payments
        # that are due.
        return rows.annotate(is_due=Case(When(refunds.owed(), then=True), default=False))  # type: ignore[no-any-return]

    @admin.display(description="phone")
    def masked_phone(self, payment: Payment) -> str:
        return phones.masked(payment.phone)

    @admin.display(description="phone")
    def full_phone(self, payment: Payment) -> str:
        return phones.spaced(payment.phone)

    @admin.display(description="state")
    def state(self, payment: Payment) -> str:
        return _state(payment)

    @admin.display(description="meaning")
    def meaning(self, payment: Payment) -> str:
        return wording.meaning(payment, *_refund(payment))

    @admin.display(description="next step")
    def to_do(self, payment: Payment) -> str:
        return wording.to_do(payment, *_refund(payment)) or "Nothing."

    def condition(self, term: str) -> Q:
        # Two queries, because one query could not use an index for the search and another index for the order.
        return Q(pk__in=found(term))


def _refund(payment: Payment) -> tuple[Refund | None, bool]:
    """Return the payment's latest payout (or None), and True if the payment is due for refund now."""
    return payment.refunds.first(), refunds.due().filter(pk=payment.pk).exists()
