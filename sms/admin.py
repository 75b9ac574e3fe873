"""Admin of messages, pauses of sending, and the suppression list."""

from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from sms import admin_base, clock, conf, outbox, owners, suppression, timeline
from sms.admin_base import ByPermission, ReadOnly, StrictLookups
from sms.console import filters
from sms.console.actions import MessageActions
from sms.console.forms import PauseForm, SuppressionForm
from sms.csv_export import CsvExport
from sms.errors import InvalidPhone, SmsError
from sms.formats import MANY, counted, moment, span, ugx
from sms.models import SmsMessage, SmsPause, SmsSuppression, Status
from sms.sending import pauses
from sms.stats import status
from sms.text.phone import to_e164
from sms.text.redaction import mask_phone, redact
from sms.text.segments import segments

# `_sent_last_minute` ignores messages that were queued more than about an hour ago. Its query can therefore use the
# index on `created_at`.
_LOOK_BACK = timedelta(hours=1)


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
    # Operators compare the CSV file with the provider's bill. The file contains no message texts and no full phone
    # numbers.
    csv_columns = {
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
        css = {"all": ("sms/console.css",)}

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
        """Search messages by phone number in any notation, DMark's message id, or reference.

        The search term `payment:12` also finds references that begin with `payment:12:`. Each search uses an index.
        """
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        wanted = Q(provider_id=term) | Q(dedupe_key=term) | Q(dedupe_key__startswith=f"{term}:")
        with suppress(SmsError):  # `to_e164` raises InvalidPhone if the term is not a phone number.
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


class AddOrRemoveAdmin(StrictLookups):
    """Admin for rows that can be added and removed, but not edited."""

    sortable_by = ()
    ordering = ("-since",)
    removal = ""
    actions = None  # Rows cannot be deleted in bulk. Each deletion needs its own confirmation.

    class Media:
        css = {"all": ("sms/console.css",)}

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.actor = request.user.get_username()
        super().save_model(request, obj, form, change)

    @admin.display(description="")
    def remove(self, row: Any) -> SafeString:
        url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_delete", args=[row.pk])
        return format_html('<a class="button" href="{}">{}</a>', url, self.removal)


@admin.register(SmsPause)
class PauseAdmin(AddOrRemoveAdmin):
    """Admin for pauses. Adding a row starts a pause. Deleting the row ends the pause."""

    form = PauseForm
    list_display = ("what", "reason", "actor", "since", "remove")
    removal = "Resume…"

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        context = {"title": "Pause sending", "waiting": counted(status.waiting()), "sent": counted(_sent_last_minute())}
        return super().add_view(request, form_url, {**context, **(extra_context or {})})

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        context = {"title": "Resume sending?", "by_worker": conf.current().delivery == "worker"}
        return super().delete_view(request, object_id, {**context, **(extra_context or {})})

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: int) -> HttpResponse:
        self.message_user(request, "Sending is resumed.", messages.SUCCESS)
        if conf.current().delivery != "worker":
            self.message_user(
                request,
                "New texts are sent at once. Run manage.py sms_worker --once to send those that were waiting.",
                messages.WARNING,
            )
        return HttpResponseRedirect(reverse("admin:app_list", args=["sms"]))


def _sent_last_minute() -> int:
    minute = clock.now() - timedelta(minutes=1)
    return SmsMessage.objects.filter(sent_at__gte=minute, created_at__gte=minute - _LOOK_BACK).order_by()[:MANY].count()


@admin.register(SmsSuppression)
class SuppressionAdmin(ByPermission, AddOrRemoveAdmin):
    form = SuppressionForm
    list_display = ("masked_phone", "reason", "actor", "since", "remove")
    search_fields = ("phone",)
    search_help_text = _("A phone number in any form")
    show_full_result_count = False
    removal = "Allow texts again…"

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        try:
            return queryset.filter(phone=to_e164(search_term)), False
        except InvalidPhone:
            return (queryset.none() if search_term.strip() else queryset), False

    def save_model(self, request: HttpRequest, obj: SmsSuppression, form: Any, change: bool) -> None:
        entry = suppression.list_by_operator(obj.phone, obj.reason, request.user.get_username())
        obj.pk, obj.actor = entry.pk, entry.actor
        cancelled = pauses.cancel_suppressed(obj.actor)
        if cancelled:
            self.message_user(request, f"{cancelled:,} waiting for this number cancelled.", messages.SUCCESS)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        return super().delete_view(request, object_id, {"title": "Text this number again?", **(extra_context or {})})
