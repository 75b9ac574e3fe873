"""The admin's list of callbacks and notifications, including those that match no payment."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from payments import database, phones
from payments.admin import actions
from payments.admin.base import PaymentsAdmin, SearchByValue, found
from payments.admin.filters import RefusedFilter
from payments.models import Callback


@admin.register(Callback)
class CallbackAdmin(SearchByValue, PaymentsAdmin):
    """The list of all callbacks, including those that match no payment."""

    list_display = ("received_at", "source", "status", "payment", "changed", "answered", "refusal", "seen_by")
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

    @admin.display(description="changed the payment?")
    def changed(self, callback: Callback) -> str:
        """Return "yes" if the callback changed the payment, "no" if it did not, and "" for a notification."""
        if callback.source == Callback.Source.DMARKPAY:
            return ""
        return "yes" if callback.applied else "no"

    @admin.display(description="body")
    def shown_body(self, callback: Callback) -> str:
        return phones.hidden(callback.body)

    def condition(self, term: str) -> Q:
        """Return the condition for callbacks of the payments that match `term`. The bodies are not searched."""
        return Q(payment__in=found(term))

    @admin.action(description="Mark as seen", permissions=["settle"])
    def mark_seen(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        """Mark the selected rejected callbacks as seen. They then no longer appear on the dashboard."""
        unseen = queryset.filter(seen_at=None).exclude(refusal="")
        rows = list(unseen[: actions.AT_ONCE])
        for callback in rows:
            self.log_change(request, callback, "Marked as seen.")
        keys = [callback.pk for callback in rows]
        Callback.objects.filter(pk__in=keys).update(seen_at=database.now(), seen_by=request.user.get_username()[:150])
        self.message_user(request, f"{len(rows):,} marked as seen.")
