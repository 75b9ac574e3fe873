from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from payments.models import Callback, Payment


class CallbackInline(admin.TabularInline):
    model = Callback
    extra = 0
    can_delete = False
    readonly_fields = ("received_at", "status", "applied", "body")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Payment)
class PaymentAdmin(admin.ModelAdmin):
    list_display = ("transaction_id", "phone", "amount", "status", "refund_due", "created_at", "settled_at")
    list_filter = ("status", "refund_due")
    search_fields = ("transaction_id", "phone")
    # An operator who has paid a refund ticks it off; everything else is the provider's word.
    readonly_fields = ("transaction_id", "phone", "amount", "status", "created_at", "settled_at")
    inlines = (CallbackInline,)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
