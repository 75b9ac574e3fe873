"""Payments, refunds, callbacks and the ledger in the admin: read-only, with confirmed actions that are logged."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.paginator import Paginator
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils.functional import cached_property

from payments import acts, clock, export, phones, refunds, wording
from payments.filters import CollectionFilter, NetworkFilter, RefundFilter, RefusedFilter, TodayFilter
from payments.models import Callback, Exchange, LedgerEntry, MatchResult, Payment, PaymentEvent, Refund

# A list shows and counts at most this many rows. Operators narrow it or take the CSV.
LONGEST_LIST = 10_000


class BoundedPaginator(Paginator):
    """Count at most LONGEST_LIST rows, because counting a large table costs more than the page."""

    object_list: "QuerySet[Any]"

    @cached_property
    def count(self) -> int:
        return self.object_list.order_by()[:LONGEST_LIST].count()


class ReadOnly:
    """Rows that are never added, edited or deleted in the admin."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(ReadOnly, admin.ModelAdmin):
    """A read-only list with a CSV of its filtered rows. `csv_columns`: empty if there is no CSV."""

    csv_columns: export.Columns = {}  # noqa: RUF012
    change_list_template = "admin/payments/change_list.html"
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 200

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        return [path("export/", self.admin_site.admin_view(self.export), name=name), *super().get_urls()]

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """Return the whole filtered list as CSV."""
        if not self.has_view_permission(request):
            return HttpResponse("You may not see this list.", status=403, content_type="text/plain")
        try:
            rows = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return HttpResponse("A filter in the address is not valid.", status=400, content_type="text/plain")
        return export.response(str(self.opts.model_name), rows, self.csv_columns)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        query = request.GET.urlencode()
        context = {"export_query": query, "has_csv": bool(self.csv_columns), **(extra_context or {})}
        return super().changelist_view(request, context)

    @admin.display(description="amount", ordering="amount")
    def shown_amount(self, row: Any) -> str:
        return f"{row.amount:,} UGX"

    def has_refund_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("payments.refund_payment")

    def has_settle_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("payments.settle_payment")


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
    """Requests that were made before there was a journal."""

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
    list_display = ("created_at", "masked_phone", "shown_amount", "state", "transaction_id", "settled_at")
    list_display_links = ("created_at", "transaction_id")
    list_filter = ("status", CollectionFilter, RefundFilter, TodayFilter, "contested", NetworkFilter)
    search_fields = ("phone",)
    search_help_text = "A phone number in any form, a transaction ID, or the provider's ID"
    sortable_by = ("created_at",)
    actions = ("refund", "mark_refunded", "settle_paid", "settle_unpaid", "end_contest", "contest_gone")
    inlines = (RefundInline, EventInline, LedgerInline, CallbackInline, ExchangeInline)
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

    # --- columns

    @admin.display(description="phone")
    def masked_phone(self, payment: Payment) -> str:
        return phones.masked(payment.phone)

    @admin.display(description="phone")
    def full_phone(self, payment: Payment) -> str:
        return phones.spaced(payment.phone)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.annotate(is_due=Exists(refunds.due().filter(pk=OuterRef("pk"))))  # type: ignore[no-any-return]

    @admin.display(description="state")
    def state(self, payment: Payment) -> str:
        return _state(payment)

    @admin.display(description="meaning")
    def meaning(self, payment: Payment) -> str:
        return wording.meaning(payment, *_refund(payment))

    @admin.display(description="next step")
    def to_do(self, payment: Payment) -> str:
        return wording.to_do(payment, *_refund(payment)) or "Nothing."

    # --- the list

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        """Search whole values, which an index finds."""
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        wanted = Q(transaction_id=term) | Q(provider_id=term)
        with suppress(ValueError):  # Not a phone number.
            wanted |= Q(phone=phones.to_e164(term))
        # A list of keys, because each of the three has its own index and the list is sorted by another.
        return queryset.filter(pk__in=list(Payment.objects.filter(wanted).values_list("pk", flat=True)[:1000])), False

    # --- actions

    @admin.action(description="Refund by payout", permissions=["refund"])
    def refund(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.REFUND, self, request, queryset)

    @admin.action(description="Record a manual refund", permissions=["refund"])
    def mark_refunded(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.BY_HAND, self, request, queryset)

    @admin.action(description="Mark as paid", permissions=["settle"])
    def settle_paid(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.PAID, self, request, queryset)

    @admin.action(description="Mark as not paid", permissions=["settle"])
    def settle_unpaid(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.UNPAID, self, request, queryset)

    @admin.action(description="Close dispute: payment received", permissions=["settle"])
    def end_contest(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.END_CONTEST, self, request, queryset)

    @admin.action(description="Record that the provider took the money back", permissions=["settle"])
    def contest_gone(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.CONTEST_GONE, self, request, queryset)


def for_whom(request: HttpRequest, names: Sequence[Any]) -> list[Any]:
    """Replace `masked_phone` by `full_phone` if this user may see numbers in full."""
    in_full = request.user.has_perm("sms.view_full_phone")
    return ["full_phone" if name == "masked_phone" and in_full else name for name in names]


def _refund(payment: Payment) -> tuple[Refund | None, bool]:
    """Return the latest refund, and True if the money is due back now."""
    return payment.refunds.first(), refunds.due().filter(pk=payment.pk).exists()


def body_for(request: HttpRequest, names: Sequence[Any]) -> list[Any]:
    """Replace `shown_body` by `body` if this user may see numbers in full."""
    in_full = request.user.has_perm("sms.view_full_phone")
    return ["body" if name == "shown_body" and in_full else name for name in names]


def _state(payment: Payment) -> str:
    """Return the state in words. `is_due` is annotated by the list."""
    if payment.refunded_at is not None:
        return "refunded"
    if payment.contested and payment.status == Payment.Status.SUCCESS:
        return "disputed"
    if getattr(payment, "is_due", payment.refund_due):
        return "refund due"
    if payment.status == Payment.Status.PENDING:
        return _REQUESTED.get(str(payment.collection), "not paid yet")
    return "paid" if payment.status == Payment.Status.SUCCESS else "not paid"


_REQUESTED: dict[str, str] = {
    Payment.Collection.ASKED: "payment requested",
    Payment.Collection.IN_DOUBT: "unknown if requested",
    Payment.Collection.UNRESOLVED: "no answer for a day",
    Payment.Collection.WITHDRAWN: "withdrawn before it was requested",
}


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin):
    list_display = ("ordered_at", "payment", "shown_amount", "how", "state", "actor", "note", "ended_at")
    list_filter = ("state", "how")
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

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        return queryset.filter(Q(reference=term) | Q(provider_id=term) | Q(payment__transaction_id=term)), False

    @admin.action(description="Mark as paid out", permissions=["refund"])
    def went_out(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.WENT_OUT, self, request, queryset)

    @admin.action(description="Mark as not paid out", permissions=["refund"])
    def stayed(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.STAYED, self, request, queryset)

    @admin.action(description="Record that the payout was returned", permissions=["refund"])
    def payout_returned(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.RETURNED, self, request, queryset)

    @admin.action(description="Take back the order", permissions=["refund"])
    def withdraw_refund(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.WITHDRAW, self, request, queryset)


@admin.register(MatchResult)
class MatchResultAdmin(ReadOnlyAdmin):
    """Results of matches, and the payment of their prizes."""

    list_display = ("recorded_at", "key", "outcome", "winner", "shown_amount", "prize", "recorded_by", "note")
    list_filter = ("prize", "outcome")
    list_select_related = ("winner",)
    actions = ("pay_prize", "prize_by_hand")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        """Add `amount`: the prize, which is both stakes without their fees."""
        stakes = F("first__amount") - F("first__fee") + F("second__amount") - F("second__fee")
        rows: QuerySet[Any] = super().get_queryset(request)
        results: QuerySet[Any] = rows.annotate(amount=stakes)
        return results

    @admin.action(description="Pay the prize", permissions=["refund"])
    def pay_prize(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.PAY_PRIZE, self, request, queryset)

    @admin.action(description="Record a prize paid by hand", permissions=["refund"])
    def prize_by_hand(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        return acts.confirmed(acts.PRIZE_BY_HAND, self, request, queryset)


@admin.register(Callback)
class CallbackAdmin(ReadOnlyAdmin):
    """Every callback, also those that match no payment."""

    list_display = ("received_at", "source", "status", "payment", "applied", "answered", "refusal", "seen_by")
    list_filter = (RefusedFilter, "source", "applied")
    list_select_related = ("payment",)
    search_fields = ("provider_id",)
    search_help_text = "A transaction ID or the provider's ID"
    actions = ("mark_seen",)
    fields = (
        "received_at",
        "source",
        "status",
        "payment",
        "provider_id",
        "applied",
        "answered",
        "refusal",
        "shown_body",
        "seen_at",
        "seen_by",
    )
    readonly_fields = (*fields, "body")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return body_for(request, self.fields)

    @admin.display(description="body")
    def shown_body(self, callback: Callback) -> str:
        return phones.hidden(callback.body)

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        """Search by ids through the payment. Bodies are not searched: that would read the whole table."""
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        payments = Payment.objects.filter(Q(transaction_id=term) | (Q(provider_id=term) & ~Q(provider_id="")))
        return queryset.filter(payment__in=list(payments.values_list("pk", flat=True)[:1000])), False

    @admin.action(description="Mark as seen", permissions=["settle"])
    def mark_seen(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        """Take the selected callbacks off the first page."""
        unseen = queryset.filter(seen_at=None).exclude(refusal="")
        rows = list(unseen[: acts.AT_ONCE])
        for callback in rows:
            self.log_change(request, callback, "Marked as seen.")
        keys = [callback.pk for callback in rows]
        Callback.objects.filter(pk__in=keys).update(seen_at=clock.now(), seen_by=request.user.get_username()[:150])
        self.message_user(request, f"{len(rows):,} marked as seen.")


@admin.register(LedgerEntry)
class LedgerAdmin(ReadOnlyAdmin):
    list_display = ("at", "debit", "credit", "shown_amount", "payment")
    list_select_related = ("payment",)
    sortable_by = ()
    search_fields = ("payment__transaction_id",)
    search_help_text = "A transaction ID"
    csv_columns = {  # noqa: RUF012
        "id": lambda entry: entry.pk,
        "at": lambda entry: entry.at,
        "payment": lambda entry: entry.payment.transaction_id,
        "debit": lambda entry: entry.debit,
        "credit": lambda entry: entry.credit,
        "amount_ugx": lambda entry: entry.amount,
    }

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        term = search_term.strip().replace("\0", "")
        return (queryset.filter(payment__transaction_id=term) if term else queryset), False
