"""Admin pages for pauses of sending and for the suppression list (numbers that must not be texted).

Each row records the reason and the user who added it.
"""

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from sms import clock, conf, suppression
from sms.admin_base import ByPermission, StrictLookups
from sms.console.forms import PauseForm, SuppressionForm
from sms.errors import InvalidPhone
from sms.formats import MANY, counted
from sms.models import SmsMessage, SmsSuppression
from sms.sending import pauses
from sms.stats import status
from sms.text.phone import to_e164

# The query of `_sent_last_minute` uses the index on `created_at`. Therefore it ignores messages that were queued more
# than an hour before that minute.
_LOOK_BACK = timedelta(hours=1)


class AddOrRemoveAdmin(StrictLookups):
    """Admin for rows that can be added and removed, but not edited."""

    sortable_by = ()
    ordering = ("-since",)
    removal = ""
    actions = None  # Rows are removed one at a time, each with its own confirmation.

    class Media:
        css = {"all": ("sms/console.css",)}  # noqa: RUF012

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.actor = request.user.get_username()
        super().save_model(request, obj, form, change)

    @admin.display(description="")
    def remove(self, row: Any) -> SafeString:
        url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_delete", args=[row.pk])
        return format_html('<a class="button" href="{}">{}</a>', url, self.removal)


class PauseAdmin(AddOrRemoveAdmin):
    """Admin for pauses. Adding a row pauses sending; deleting the row resumes sending."""

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
