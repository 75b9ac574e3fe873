"""Payments, their callbacks and refunds: for reading, and a few acts that are confirmed and kept with who did them."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property

from payments import acts, phones, refunds, wording
from payments.filters import CollectionFilter, NetworkFilter, RefundFilter, RefusedFilter, TodayFilter
from payments.models import Callback, Exchange, LedgerEntry, Payment, PaymentEvent, Refund

# A list is for looking; who wants more than so many narrows it.
LONGEST_LIST = 10_000


class BoundedPaginator(Paginator):
    """Counts no further than LONGEST_LIST: the count of a large table would cost more than the page."""

    object_list: "QuerySet[Any]"

    @cached_property
    def count(self) -> int:
        return self.object_list.order_by()[:LONGEST_LIST].count()


class ReadOnly:
    """Nobody adds, edits or deletes money here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(ReadOnly, admin.ModelAdmin):
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 200

    def has_refund_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("payments.refund_payment")

    def has_settle_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("payments.settle_payment")


class CallbackInline(ReadOnly, admin.TabularInline):
    model = Callback
    extra = 0
    fields = readonly_fields = ("received_at", "source", "status", "applied", "answered", "refusal", "body")


class ExchangeInline(ReadOnly, admin.TabularInline):
    """Requests before the journal."""

    model = Exchange
    extra = 0
    fields = readonly_fields = ("at", "step", "outcome", "http_status", "words", "answer", "ms")


class EventInline(ReadOnly, admin.TabularInline):
    model = PaymentEvent
    fk_name = "payment"
    extra = 0
    fields = readonly_fields = ("at", "kind", "said", "actor", "note", "refused", "http_status", "answer", "ms")


class LedgerInline(ReadOnly, admin.TabularInline):
    model = LedgerEntry
    extra = 0
    fields = readonly_fields = ("at", "debit", "credit", "amount")


class RefundInline(ReadOnly, admin.TabularInline):
    model = Refund
    extra = 0
    show_change_link = True
    fields = readonly_fields = ("ordered_at", "amount", "how", "state", "actor", "note", "reason", "ended_at")


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "masked_phone", "amount", "state", "transaction_id", "contested", "settled_at")
    list_display_links = ("created_at", "transaction_id")
    list_filter = ("status", CollectionFilter, RefundFilter, TodayFilter, "contested", NetworkFilter)
    search_fields = ("phone",)
    search_help_text = "A phone number in any form, a transaction id, or the provider's id"
    sortable_by = ("created_at",)
    actions = ("refund", "mark_refunded", "settle_paid", "settle_unpaid", "end_contest")
    inlines = (RefundInline, EventInline, LedgerInline, CallbackInline, ExchangeInline)
    fields = (
        "transaction_id",
        "masked_phone",
        "network",
        "amount",
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

    readonly_fields = (*fields, "phone")

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return for_whom(request, self.list_display)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return for_whom(request, self.fields)

    # --- columns

    @admin.display(description="phone")
    def masked_phone(self, payment: Payment) -> str:
        return phones.masked(payment.phone)

    @admin.display(description="state")
    def state(self, payment: Payment) -> str:
        if payment.refunded_at is not None:
            return "refunded"
        if payment.status == Payment.Status.PENDING and payment.collection:
            return payment.get_collection_display()
        due = ", refund due" if payment.refund_due else ""
        return f"{payment.get_status_display()}{', contested' if payment.contested else ''}{due}"

    @admin.display(description="what that means")
    def meaning(self, payment: Payment) -> str:
        return wording.meaning(payment, *_refund(payment))

    @admin.display(description="what to do")
    def to_do(self, payment: Payment) -> str:
        return wording.to_do(payment, *_refund(payment)) or "Nothing."

    # --- the list

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        """By whole values, so that an index answers."""
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        wanted = Q(transaction_id=term) | Q(provider_id=term)
        with suppress(ValueError):  # no number, so one of the others
            wanted |= Q(phone=phones.to_e164(term))
        # A list of keys, since each of the three has an index of its own and the list is sorted by another.
        return queryset.filter(pk__in=list(Payment.objects.filter(wanted).values_list("pk", flat=True)[:1000])), False

    # --- acts

    @admin.action(description="Refund by payout", permissions=["refund"])
    def refund(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.REFUND, self, request, queryset)

    @admin.action(description="Record as given back by hand", permissions=["refund"])
    def mark_refunded(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.BY_HAND, self, request, queryset)

    @admin.action(description="Say that it was paid", permissions=["settle"])
    def settle_paid(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.PAID, self, request, queryset)

    @admin.action(description="Say that it was not paid", permissions=["settle"])
    def settle_unpaid(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.UNPAID, self, request, queryset)

    @admin.action(description="End the contest: the money is with us", permissions=["settle"])
    def end_contest(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.END_CONTEST, self, request, queryset)


def for_whom(request: HttpRequest, names: Sequence[Any]) -> list[Any]:
    """The columns, with the number in full for who may see it."""
    in_full = request.user.has_perm("sms.view_full_phone")
    return ["phone" if name == "masked_phone" and in_full else name for name in names]


def _refund(payment: Payment) -> tuple[Refund | None, bool]:
    """Its latest refund, and whether it is due back now."""
    return payment.refunds.first(), refunds.due().filter(pk=payment.pk).exists()


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin):
    list_display = ("ordered_at", "payment", "amount", "how", "state", "actor", "note", "ended_at")
    list_filter = ("state", "how")
    list_select_related = ("payment",)
    search_fields = ("reference",)
    search_help_text = "The reference under which the provider knows it, its own id, or the payment's transaction id"
    actions = ("went_out", "stayed")

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        return queryset.filter(Q(reference=term) | Q(provider_id=term) | Q(payment__transaction_id=term)), False

    @admin.action(description="Say that it was paid out", permissions=["refund"])
    def went_out(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.WENT_OUT, self, request, queryset)

    @admin.action(description="Say that it was not paid out", permissions=["refund"])
    def stayed(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.STAYED, self, request, queryset)


@admin.register(Callback)
class CallbackAdmin(ReadOnlyAdmin):
    """Also those that no payment of ours belongs to."""

    list_display = ("received_at", "source", "status", "payment", "applied", "answered", "refusal")
    list_filter = (RefusedFilter, "source", "applied")
    list_select_related = ("payment",)
    search_fields = ("payment__transaction_id", "body")
    search_help_text = "A transaction id, or any part of what was sent"

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        return super().get_search_results(request, queryset, search_term.replace("\0", ""))
