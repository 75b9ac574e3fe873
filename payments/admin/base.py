"""Base classes for the read-only lists of the admin.

A list has a maximum length and can be exported as CSV. It shows full phone numbers only to users with the permission
`view_full_phone`.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils.functional import cached_property

from payments import phones
from payments.admin import export
from payments.models import Payment, Refund

# Longest list that is shown and counted, in rows. Operators reach other rows by filters or by the CSV export.
LONGEST_LIST = 10_000
SEARCHED = "A phone number in any form, a transaction ID, the provider's ID, a payout's reference or a payment's number"
# A search by phone number finds at most this many payments.
_MOST_FOUND = 1000


class BoundedPaginator(Paginator):
    """A paginator that counts at most LONGEST_LIST rows, because counting a large table is slow."""

    object_list: "QuerySet[Any]"

    @cached_property
    def count(self) -> int:
        return self.object_list.order_by()[:LONGEST_LIST].count()


class ReadOnly:
    """A mixin for models that cannot be added, changed or deleted in the admin."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_change_permission = has_delete_permission = has_add_permission


class ReadOnlyAdmin(ReadOnly, admin.ModelAdmin):
    """A read-only list whose filtered rows can be exported as CSV. If `csv_columns` is empty, there is no export."""

    csv_columns: export.Columns = {}  # noqa: RUF012
    # Shown in empty cells. The style sheet hides it on small screens.
    empty_value_display = '<span class="pm-none">-</span>'
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


def for_whom(request: HttpRequest, names: Sequence[Any]) -> list[Any]:
    """Return the columns, with `full_phone` in place of `masked_phone` if the user may see full phone numbers."""
    in_full = request.user.has_perm("sms.view_full_phone")
    return ["full_phone" if name == "masked_phone" and in_full else name for name in names]


def body_for(request: HttpRequest, names: Sequence[Any]) -> list[Any]:
    """Return the fields, with `body` in place of `shown_body` if the user may see full phone numbers."""
    in_full = request.user.has_perm("sms.view_full_phone")
    return ["body" if name == "shown_body" and in_full else name for name in names]


def found(term: str) -> list[int]:
    """Return the ids of payments that match a search term.

    `term` is one of: a phone number in any notation, our transaction id, the provider's id, the reference of a payout,
    the payment's own id. It must be complete, so that the database can use an index.
    """
    wanted = Q(transaction_id=term) | (Q(provider_id=term) & ~Q(provider_id=""))
    if term.isascii() and term.isdecimal() and len(term) < 19:
        wanted |= Q(pk=int(term))
    with suppress(ValueError):  # The term may be something other than a phone number.
        wanted |= Q(phone=phones.to_e164(term))
    keys = list(Payment.objects.filter(wanted).order_by().values_list("pk", flat=True)[:_MOST_FOUND])
    payouts = Refund.objects.filter(Q(reference=term) | (Q(provider_id=term) & ~Q(provider_id="")))
    return keys + list(payouts.values_list("payment", flat=True)[:_MOST_FOUND])
