"""The log views: every text and what became of it. Read-only, but for sending again what did not arrive."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from sms import outbox
from sms.errors import SmsError
from sms.models import SmsEvent, SmsMessage
from sms.phone import to_e164
from sms.redaction import mask_phone, redact
from sms.segments import segments


class SmsEventInline(admin.TabularInline):
    model = SmsEvent
    extra = 0
    can_delete = False
    fields = readonly_fields = ("at", "what", "step", "http_status", "answer", "error", "ms", "actor")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(SmsMessage)
class SmsMessageAdmin(admin.ModelAdmin):
    list_display = ("created_at", "kind", "masked_phone", "status", "attempts", "provider_id", "error")
    list_filter = ("status", "kind", "created_at")
    list_per_page = 50
    show_full_result_count = False
    search_fields = ("=provider_id", "=dedupe_key")
    search_help_text = "A phone number in any form, DMark's id, or the reference"
    ordering = ("-id",)
    actions = ("resend",)
    inlines = (SmsEventInline,)
    fields = readonly_fields = (
        "phone",
        "shown_text",
        "segments",
        "kind",
        "status",
        "error",
        "dedupe_key",
        "provider_id",
        "attempts",
        "retries",
        "created_at",
        "due_at",
        "expires_at",
        "sent_at",
        "delivered_at",
    )

    @admin.display(description="phone", ordering="phone")
    def masked_phone(self, message: SmsMessage) -> str:
        return mask_phone(message.phone)

    @admin.display(description="text")
    def shown_text(self, message: SmsMessage) -> str:
        return redact(message.text)

    @admin.display(description="segments")
    def segments(self, message: SmsMessage) -> str:
        counted = segments(message.text)
        return f"{counted.count} ({counted.encoding}, {counted.length} characters)"

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        """A phone number is looked up as it is stored, whatever its notation."""
        try:
            return queryset.filter(phone=to_e164(search_term)), False
        except SmsError:
            return super().get_search_results(request, queryset, search_term)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sms.resend_smsmessage")

    @admin.action(description="Send again what did not arrive", permissions=["resend"])
    def resend(self, request: HttpRequest, queryset: "QuerySet[SmsMessage]") -> HttpResponse | None:
        """Shows how many will be sent, then sends them."""
        able = outbox.resendable(queryset)
        if "post" not in request.POST:  # the field by which Django confirms its own delete action
            context = {
                **self.admin_site.each_context(request),
                "title": "Send again",
                "opts": self.model._meta,
                "selected": queryset.count(),
                "able": able.count(),
                "ids": queryset.values_list("pk", flat=True),
                "action_checkbox_name": ACTION_CHECKBOX_NAME,
            }
            return TemplateResponse(request, "admin/sms/resend.html", context)
        try:
            sent = outbox.resend(able, actor=request.user.get_username())
        except SmsError as error:
            self.message_user(request, str(error), messages.ERROR)
            return None
        self.message_user(request, f"Queued again: {len(sent)}.")
        return None
