"""Base classes for the admin of payments and of the game.

They add search, filters with fixed values, and the masking of personal data. The admin site (`playmatatu/admin.py`)
limits the length of lists, refuses invalid filters, and adds the CSV export.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from payments import phones
from payments.models import Payment, Refund

SEARCHED = "A phone number in any form, a transaction ID, the provider's ID, a payout's reference or a payment's number"
# A search by phone number finds at most this many payments.
_MOST_FOUND = 1000
# Maps each column with masked data to the column that shows the data in full.
_IN_FULL: Mapping[Any, str] = {"masked_phone": "full_phone", "shown_body": "body", "shown_answer": "answer"}


class ReadOnly:
    """Mixin for admin classes of rows that cannot be added, changed or deleted.

    Only users with the permission `sms.view_full_phone` see personal data in full.
    """

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_change_permission = has_delete_permission = has_add_permission

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return permitted(request, super().get_fields(request, obj))  # type: ignore[misc]


def permitted(request: HttpRequest, names: Sequence[Any]) -> list[Any]:
    """Return `names`, with masked columns replaced by full ones if the user may see personal data in full."""
    in_full = request.user.has_perm("sms.view_full_phone")
    return [_IN_FULL.get(name, name) if in_full else name for name in names]


class PaymentsAdmin(ReadOnly, admin.ModelAdmin):
    def get_list_display(self, request: HttpRequest) -> Any:
        return permitted(request, super().get_list_display(request))

    @admin.display(description="amount", ordering="amount")
    def shown_amount(self, row: Any) -> str:
        return f"{row.amount:,} UGX"

    def has_refund_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("payments.refund_payment")

    def has_settle_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("payments.settle_payment")


class SearchByValue:
    """Admin mixin: search by complete values only, so that the database can use an index."""

    def condition(self, term: str) -> Q:
        """Return the condition for the rows that a search for `term` finds. `term` is not empty and contains no NUL."""
        raise NotImplementedError

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        term = search_term.strip().replace("\0", "")
        return (queryset.filter(self.condition(term)) if term else queryset), False


class LabeledFilter(admin.SimpleListFilter):
    """A filter in the sidebar with fixed values. A DISTINCT query for the values would read the whole table.

    `labels`: the values, each with its label.
    """

    labels: Mapping[str, Any] = {}

    def condition(self, value: str) -> Q:
        """Return the condition for the rows with this value. `value` is a key of `labels`."""
        return Q(**{str(self.parameter_name): value})

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(self.labels.items())

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        value = self.value() or ""
        return queryset.filter(self.condition(value)) if value in self.labels else queryset


def found(term: str) -> list[int]:
    """Return the ids of payments that match a search term. Only complete values match, so that an index can be used.

    `term`: a phone number, a transaction id, an id at the provider, a payout's reference, or a payment's own id.
    """
    wanted = Q(transaction_id=term) | (Q(provider_id=term) & ~Q(provider_id=""))
    if term.isascii() and term.isdecimal() and len(term) < 19:
        wanted |= Q(pk=int(term))
    with suppress(ValueError):  # The search term may be something other than a phone number.
        wanted |= Q(phone=phones.to_e164(term))
    keys = list(Payment.objects.filter(wanted).order_by().values_list("pk", flat=True)[:_MOST_FOUND])
    payouts = Refund.objects.filter(Q(reference=term) | (Q(provider_id=term) & ~Q(provider_id="")))
    return keys + list(payouts.values_list("payment", flat=True)[:_MOST_FOUND])
