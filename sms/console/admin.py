"""Pauses of sending, and numbers that are never texted: added and taken back by a named person, with a reason."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from sms import conf, suppression
from sms.console.filters import kinds
from sms.console.full_phone import columns
from sms.errors import InvalidPhone
from sms.models import SmsPause, SmsSuppression
from sms.sending import pauses
from sms.text.phone import to_e164
from sms.text.redaction import mask_phone


class HoldForm(forms.ModelForm):
    kind = forms.ChoiceField(label="What is paused", required=False)

    class Meta:
        model = SmsPause
        fields = ("kind", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = [(kind, f"{kind or 'plain'} texts") for kind in kinds()]
        if "kind" in self.fields:
            self.fields["kind"].choices = [(SmsPause.ALL, "all texts"), *known]  # type: ignore[attr-defined]


class NeverForm(forms.ModelForm):
    phone = forms.CharField(label="Number", max_length=60, help_text="In any notation.")

    class Meta:
        model = SmsSuppression
        fields = ("phone", "reason")

    def clean_phone(self) -> str:
        try:
            return to_e164(self.cleaned_data["phone"])
        except InvalidPhone as error:
            raise forms.ValidationError(str(error)) from None

    def validate_unique(self) -> None:
        """Allow a number that asked to stop: its entry becomes the operator's, which stops every message."""
        stopped = SmsSuppression.objects.filter(source=SmsSuppression.Source.STOP)
        if not stopped.filter(phone=self.cleaned_data.get("phone")).exists():
            super().validate_unique()


class Ordered(admin.ModelAdmin):
    """What is added or taken back, never edited."""

    sortable_by = ()
    ordering = ("-since",)
    undo = ""
    actions = None  # one at a time, each with its own confirmation

    class Media:
        css = {"all": ("sms/console.css",)}  # noqa: RUF012

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.actor = request.user.get_username()
        super().save_model(request, obj, form, change)

    @admin.display(description="")
    def take_back(self, row: Any) -> SafeString:
        url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_delete", args=[row.pk])
        return format_html('<a class="button" href="{}">{}</a>', url, self.undo)


class HoldAdmin(Ordered):
    """A row is a pause; who deletes it resumes."""

    form = HoldForm
    list_display = ("what", "reason", "actor", "since", "take_back")
    undo = "Resume…"

    def delete_model(self, request: HttpRequest, obj: SmsPause) -> None:
        super().delete_model(request, obj)
        if conf.current().delivery != "worker":
            self.message_user(
                request,
                "What waits leaves with manage.py sms_worker --once; new texts leave at once.",
                messages.WARNING,
            )


class NeverAdmin(Ordered):
    form = NeverForm
    list_display = ("masked_phone", "reason", "actor", "since", "take_back")
    search_fields = ("phone",)
    search_help_text = _("A phone number in any form")
    show_full_result_count = False
    undo = "Text it again…"

    def get_list_display(self, request: HttpRequest) -> Any:
        return columns(request, self.list_display)

    @admin.display(description=_("phone"))
    def masked_phone(self, row: SmsSuppression) -> str:
        return mask_phone(row.phone)

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
            self.message_user(request, f"Cancelled, because they waited for it: {cancelled}.", messages.SUCCESS)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        return super().delete_view(request, object_id, {"title": "Text this number again?", **(extra_context or {})})
