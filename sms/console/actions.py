"""Admin actions on messages: resend, cancel, dismiss a group of failures, send a test message."""

from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _

from sms import clock, conf, outbox, suppression
from sms.admin_base import LONGEST_LIST, BoundedAdmin
from sms.console.forms import FailedForm, TestForm
from sms.errors import SmsError
from sms.formats import moment
from sms.models import RESENDABLE, SmsMessage, Status
from sms.sending import pauses
from sms.stats import failures

# The name of a hidden field in the confirmation forms. Django's own delete action uses the same name.
_CONFIRMED = "post"
# The most messages that one action resends: 2,000 with SMS_DELIVERY=worker, otherwise 100. With SMS_DELIVERY=inline,
# the page waits until the messages are sent.
_INLINE, _QUEUED = 100, 2000


class MessageActions(BoundedAdmin):
    """Admin mixin for the list of messages: its actions, and the pages of the actions."""

    def get_urls(self) -> list[URLPattern]:
        views = {"resend": self.resend_by_reason, "dismiss": self.dismiss, "test": self.send_test}
        own = [
            path(f"{name}/", self.admin_site.admin_view(view), name=f"sms_smsmessage_{name}")
            for name, view in views.items()
        ]
        return [*own, *super().get_urls()]

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sms.resend_smsmessage")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sms.cancel_smsmessage")

    @admin.action(description=_("Resend texts that did not arrive"), permissions=["resend"])
    def resend(self, request: HttpRequest, queryset: "QuerySet[SmsMessage]") -> HttpResponse | None:
        """Resend the selected messages after the operator has confirmed a preview."""
        preview = preview_of(queryset)
        if _CONFIRMED not in request.POST:
            return self._page(request, "resend", "Resend texts", {"preview": preview, **_selection(request)})
        self._resend(request, preview)
        return None

    def resend_by_reason(self, request: HttpRequest) -> HttpResponse:
        """Resend messages that failed with a given status and reason, after the operator has confirmed a preview."""
        if not self.has_resend_permission(request) or not self.has_view_permission(request):
            return HttpResponse("You may not resend texts.", status=403, content_type="text/plain")
        form = FailedForm(request.POST or request.GET or None)
        context: dict[str, Any] = {"form": form}
        if form.is_valid():
            preview = context["preview"] = preview_of(form.rows())
            if _CONFIRMED in request.POST:
                self._resend(request, preview)
                return HttpResponseRedirect(reverse("admin:sms_smsmessage_changelist"))
        return self._page(request, "resend_by_reason", "Resend failed texts", context)

    def _resend(self, request: HttpRequest, preview: "Preview") -> None:
        rows = SmsMessage.objects.filter(pk__in=preview.ids)
        try:
            sent = outbox.resend(rows, actor=request.user.get_username())
        except SmsError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        self._log(request, sent, "Resent.")
        if not sent:
            self.message_user(request, "Nothing was resent: it was done already, or is too late.", messages.WARNING)
            return
        more = f" Run it again for the remaining {preview.more:,}." if preview.more else ""
        self.message_user(request, f"{len(sent):,} queued to be resent.{more}", messages.SUCCESS)

    def dismiss(self, request: HttpRequest) -> HttpResponse:
        """Hide the banner of a group of failures until a message queued later fails with the same status and reason."""
        if not self.has_resend_permission(request):
            return HttpResponse("You may not dismiss failures.", status=403, content_type="text/plain")
        status, reason = request.POST.get("status", ""), request.POST.get("reason", "").replace("\0", "")
        if request.method != "POST" or status not in Status:
            return HttpResponse("Dismiss a failure with its button.", status=400, content_type="text/plain")
        failures.dismiss(status, reason, request.user.get_username(), clock.now())
        said = "Dismissed. It is shown again if a text queued from now on fails like this."
        self.message_user(request, said, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:app_list", args=["sms"]))

    def send_test(self, request: HttpRequest) -> HttpResponse:
        """Queue a test message to one phone, so that an operator can see if sending works."""
        if not self.has_resend_permission(request) or not self.has_view_permission(request):
            return HttpResponse("You may not send a test text.", status=403, content_type="text/plain")
        form = TestForm(request.POST or None)
        if not form.is_valid():
            return self._page(request, "send_test", "Send a test text", {"form": form})
        text = f"Test message from {self.admin_site.site_header}, {moment(clock.now())}. No reply is needed."
        message = outbox.queue_sms(form.cleaned_data["phone"], text, kind="test")
        self._log(request, [message.pk], "Test text sent.")
        return HttpResponseRedirect(reverse("admin:sms_smsmessage_change", args=[message.pk]))

    @admin.action(description=_("Cancel waiting texts"), permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: "QuerySet[SmsMessage]") -> HttpResponse | None:
        """Ask the operator for a reason, then cancel the selected messages that are still queued."""
        waiting = list(queryset.filter(status=Status.QUEUED).order_by().values_list("pk", flat=True)[:LONGEST_LIST])
        reason = request.POST.get("reason", "").replace("\0", "").strip()[:200]
        if _CONFIRMED not in request.POST or not reason:
            missing = "Please give a reason. It is shown to everybody who looks at these texts later."
            context = {
                "waiting": len(waiting),
                "selected": queryset.order_by()[:LONGEST_LIST].count(),
                "mistake": missing if _CONFIRMED in request.POST else "",
            }
            return self._page(request, "cancel", "Cancel waiting texts", context | _selection(request))
        actor = request.user.get_username()
        done = [pk for pk in waiting if pauses.cancel(pk, actor, reason)]
        self._log(request, done, f"Cancelled: {reason}")
        self.message_user(request, f"{len(done):,} cancelled.", messages.SUCCESS if done else messages.WARNING)
        return None

    def _log(self, request: HttpRequest, ids: list[int], message: str) -> None:
        rows = SmsMessage.objects.filter(pk__in=ids)
        LogEntry.objects.log_actions(
            user_id=int(str(request.user.pk)), queryset=rows, action_flag=CHANGE, change_message=message
        )

    def _page(self, request: HttpRequest, name: str, title: str, context: dict[str, Any]) -> HttpResponse:
        shared = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.model._meta,
            "media": self.media,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, f"admin/sms/{name}.html", shared | context)


def _selection(request: HttpRequest) -> dict[str, Any]:
    """Return the operator's selection as values for the hidden fields of the confirmation form.

    If `across` is True, the whole list is selected, and one id is enough for Django.
    """
    across = request.POST.get("select_across") == "1"
    ids = request.POST.getlist(ACTION_CHECKBOX_NAME)
    return {"ids": ids[:1] if across else ids, "across": across, "here": request.get_full_path()}


@dataclass(frozen=True)
class Preview:
    """The messages that a resend would send, and those that it would skip.

    `more`: number of messages left for another run. `skipped`: (number of messages, reason) pairs. `cost`: in UGX.
    """

    selected: int
    ids: list[int]
    more: int
    segments: int
    cost: float
    ambiguous: int
    skipped: list[tuple[int, str]]
    sample: list[SmsMessage]

    @property
    def able(self) -> int:
        return len(self.ids)


def preview_of(rows: "QuerySet[SmsMessage]") -> Preview:
    """Return a preview of resending `rows`. At most LONGEST_LIST of the rows are included."""
    rows = SmsMessage.objects.filter(pk__in=list(rows.order_by().values_list("pk", flat=True)[:LONGEST_LIST]))
    able = outbox.resendable(rows).count()
    wanted = outbox.worth_resending(rows)
    going = wanted[: _INLINE if conf.current().delivery != "worker" else _QUEUED]
    chosen = SmsMessage.objects.filter(pk__in=going)
    segments = chosen.aggregate(segments=Sum("segments"))["segments"] or 0
    selected, ended = rows.count(), rows.filter(status__in=RESENDABLE)
    suppressed = suppression.suppressed(ended).count()
    reasons = [
        (selected - ended.count(), "delivered, on the way, or cancelled"),
        (suppressed, "to a number on the do-not-text list"),
        (ended.count() - suppressed - able, "content erased or link expired"),
        (able - len(wanted), "no longer relevant"),
    ]
    return Preview(
        selected=selected,
        ids=going,
        more=len(wanted) - len(going),
        segments=segments,
        cost=segments * conf.current().segment_cost,
        ambiguous=chosen.filter(status=Status.UNKNOWN).count(),
        skipped=[(count, reason) for count, reason in reasons if count > 0],
        sample=list(chosen.order_by("-created_at")[:10]),
    )
