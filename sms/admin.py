"""Admin for messages: a read-only log of every message and its status, with the actions of `sms/console/actions.py`."""

from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from sms import admin_base, clock, conf, outbox, owners, timeline
from sms.admin_base import ByPermission, ReadOnly
from sms.console import filters
from sms.console.actions import MessageActions
from sms.console.admin import PauseAdmin, SuppressionAdmin
from sms.csv_export import CsvExport
from sms.errors import SmsError
from sms.formats import moment, span, ugx
from sms.models import SmsMessage, SmsPause, SmsSuppression, Status
from sms.text.phone import to_e164
from sms.text.redaction import mask_phone, redact
from sms.text.segments import segments


@admin.register(SmsMessage)
class SmsMessageAdmin(ReadOnly, ByPermission, CsvExport, MessageActions):
    list_display = ("time", "state", "masked_phone", "kind", "cost", "requests", "provider_id", "age")
    list_filter = ("status", filters.KindFilter, filters.WhenFilter, filters.ReasonFilter)
    linked_lookups = ("phone__exact",)
    search_fields = ("phone",)
    search_help_text = _("A phone number in any form, the provider's id, or the reference")
    ordering = ("-created_at", "-id")
    sortable_by = ("time",)
    actions = ("resend", "cancel")
    fields = (
        "state",
        "meaning",
        "masked_phone",
        "shown_text",
        "shown_segments",
        "kind",
        "related_to",
        "dedupe_key",
        "provider_id",
        "attempts",
        "ambiguous_requests",
        "retries",
        "created_at",
        "due_at",
        "expires_at",
        "sent_at",
        "delivered_at",
    )

    readonly_fields = (*fields, "full_phone")
    change_list_template = "admin/sms/smsmessage/change_list.html"
    # Operators compare the file with the provider's bill. It contains no texts and no full phone numbers.
    csv_columns = {  # noqa: RUF012
        "id": "pk",
        "queued_at": "created_at",
        "kind": "kind",
        "phone": lambda message: mask_phone(message.phone).lstrip("+"),
        "status": "status",
        "send_requests": "attempts",
        "segments": "segments",
        "cost_ugx": lambda message: round(message.segments * conf.current().segment_cost, 2),
        "provider_id": "provider_id",
        "reference": "dedupe_key",
        "sent_at": "sent_at",
        "delivered_at": "delivered_at",
        "error": "error",
    }

    class Media:
        css = {"all": ("sms/console.css",)}  # noqa: RUF012

    @admin.display(description=_("time"), ordering="created_at")
    def time(self, message: SmsMessage) -> str:
        return moment(message.created_at)

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        return [name for name in list_display if name in ("time", "full_phone", "masked_phone")]

    @admin.display(description=_("age"))
    def age(self, message: SmsMessage) -> str:
        return f"{span((clock.now() - message.created_at).total_seconds())} ago"

    @admin.display(description=_("status"))
    def state(self, message: SmsMessage) -> SafeString:
        why = (
            format_html('<span class="sms-why">{}</span>', Truncator(message.error).chars(120)) if message.error else ""
        )
        return format_html('<span class="sms-state {}">{}</span>{}', message.status, message.get_status_display(), why)

    @admin.display(description=_("requests"))
    def requests(self, message: SmsMessage) -> int:
        return message.attempts

    @admin.display(description=_("SMS"))
    def cost(self, message: SmsMessage) -> SafeString | str:
        price = conf.current().segment_cost
        if not price:
            return str(message.segments)
        return format_html('<span class="sms-cost">{} · {}</span>', message.segments, ugx(message.segments * price))

    @admin.display(description=_("what that means"))
    def meaning(self, message: SmsMessage) -> str:
        meaning = timeline.MEANINGS[message.status]
        return f"{meaning} {message.error}" if message.error else meaning

    @admin.display(description=_("text"))
    def shown_text(self, message: SmsMessage) -> str:
        return redact(message.text)

    @admin.display(description=_("segments"))
    def shown_segments(self, message: SmsMessage) -> str:
        counted = segments(message.text)
        price = conf.current().segment_cost
        cost = f", {ugx(message.segments * price)}" if price else ""
        return f"{message.segments or counted.count} SMS ({counted.encoding}, {counted.length} characters{cost})"

    @admin.display(description=_("related to"))
    def related_to(self, message: SmsMessage) -> SafeString | str:
        links = [format_html('<a href="{}">{}</a>', link.url, link.label) for link in owners.links(message)]
        return SafeString(", ".join(links)) if links else "nothing"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = dict(extra_context or {})
        message = self.get_object(request, object_id)
        if message is not None and self.has_view_permission(request, message):
            able = (
                self.has_resend_permission(request)
                and outbox.resendable(SmsMessage.objects.filter(pk=message.pk)).exists()
            )
            waiting = self.has_cancel_permission(request) and message.status == Status.QUEUED
            context |= {"timeline": timeline.lines(message), "can_resend": able, "can_cancel": waiting}
            context["message_id"] = message.pk
        return super().change_view(request, object_id, form_url, context)

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        """Search messages by phone number, by DMark's message id, or by reference.

        The phone number may be in any notation. A reference may be shortened at a colon. Each search uses an index.
        """
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        wanted = Q(provider_id=term) | Q(dedupe_key=term) | Q(dedupe_key__startswith=f"{term}:")
        with suppress(SmsError):  # The search term may be something other than a phone number.
            wanted |= Q(phone=to_e164(term))
        return queryset.filter(wanted), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        failed = {"status": request.GET.get("status__exact", ""), "reason": request.GET.get("reason", "")}
        context = {
            "failed": failed if "reason" in request.GET and self.has_resend_permission(request) else None,
            "failed_query": urlencode(failed),
            "longest_list": admin_base.LONGEST_LIST,
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)


admin.site.register(SmsPause, PauseAdmin)
admin.site.register(SmsSuppression, SuppressionAdmin)
