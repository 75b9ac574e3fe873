from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from payments.models import Callback, Payment


class CallbackInline(admin.TabularInline):
    model = Callback
    extra = 0
    can_delete = False
    readonly_fields = ("received_at", "status", "applied", "refusal", "body")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Payment)
class PaymentAdmin(admin.ModelAdmin):
    list_display = ("transaction_id", "phone", "amount", "status", "refund_due", "created_at", "settled_at")
    list_filter = ("status", "refund_due")
    search_fields = ("transaction_id", "phone")
    readonly_fields = (
        "transaction_id",
        "phone",
        "amount",
        "status",
        "refund_due",
        "refunded_at",
        "created_at",
        "settled_at",
    )
    actions = ("mark_refunded",)
    inlines = (CallbackInline,)

    @admin.action(description="Mark as refunded", permissions=["change"])
    def mark_refunded(self, request: HttpRequest, queryset: "QuerySet[Payment]") -> None:
        done = queryset.filter(refund_due=True).update(refund_due=False, refunded_at=timezone.now())
        self.message_user(request, f"Marked as refunded: {done}.")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Callback)
class CallbackAdmin(admin.ModelAdmin):
    """Also those that no payment of ours belongs to."""

    list_display = ("received_at", "status", "payment", "applied", "refusal")
    list_filter = ("applied", "status", ("refusal", admin.EmptyFieldListFilter))
    list_select_related = ("payment",)
    search_fields = ("payment__transaction_id", "body")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
