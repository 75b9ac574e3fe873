"""What an operator can do with texts: send again, cancel what waits. Each act is confirmed, and logged with a name."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from sms import outbox
from sms.console import again
from sms.console.filters import LONGEST_LIST
from sms.errors import SmsError
from sms.models import RESENDABLE, SmsMessage, Status
from sms.sending import pauses

# The field by which Django confirms its own delete action.
_CONFIRMED = "post"


class Hands(admin.ModelAdmin):
    """The acts on the list of texts."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.send_again)
        return [path("again/", view, name="sms_smsmessage_again"), *super().get_urls()]

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sms.resend_smsmessage")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sms.cancel_smsmessage")

    # --- sending again

    @admin.action(description=_("Send again what did not arrive"), permissions=["resend"])
    def resend(self, request: HttpRequest, queryset: "QuerySet[SmsMessage]") -> HttpResponse | None:
        """Shows how many will be sent, then sends them."""
        preview = again.preview(queryset)
        if _CONFIRMED not in request.POST:
            return self._page(request, "resend", "Send again", {"preview": preview, **_chosen(request)})
        self._send_again(request, preview)
        return None

    def send_again(self, request: HttpRequest) -> HttpResponse:
        """All that failed since a time for one reason: the numbers first, then the act."""
        if not self.has_resend_permission(request) or not self.has_view_permission(request):
            return HttpResponse("You may not send texts again.", status=403, content_type="text/plain")
        given = request.POST if request.method == "POST" else request.GET
        context: dict[str, Any] = {"given": given, "statuses": [(one, one.label) for one in RESENDABLE]}
        try:
            order = again.read_order(given)
        except ValueError as error:
            return self._page(request, "again", "Send again all that failed", context | {"mistake": str(error)})
        preview = again.preview(order.rows())
        if request.method == "POST" and _CONFIRMED in request.POST:
            self._send_again(request, preview)
            return HttpResponseRedirect(reverse("admin:sms_smsmessage_changelist"))
        since = f"{timezone.localtime(order.since):%Y-%m-%d %H:%M:%S}"
        context |= {"preview": preview, "order": order, "since": since}
        return self._page(request, "again", "Send again all that failed", context)

    def _send_again(self, request: HttpRequest, preview: again.Preview) -> None:
        rows = SmsMessage.objects.filter(pk__in=preview.ids)
        try:
            sent = outbox.resend(rows, actor=request.user.get_username())
        except SmsError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        self._log(request, sent, "Sent again.")
        if not sent:
            self.message_user(request, "Nothing to send again: it was done already, or is over.", messages.WARNING)
            return
        more = f" {preview.more} more are left for another go." if preview.more else ""
        self.message_user(request, f"Queued again: {len(sent)}.{more}", messages.SUCCESS)

    # --- cancelling

    @admin.action(description=_("Cancel what waits"), permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: "QuerySet[SmsMessage]") -> HttpResponse | None:
        """Asks for a reason, then takes back what is still queued."""
        waiting = list(queryset.filter(status=Status.QUEUED).order_by().values_list("pk", flat=True)[:LONGEST_LIST])
        reason = request.POST.get("reason", "").replace("\0", "").strip()[:200]
        if _CONFIRMED not in request.POST or not reason:
            asked = "Say why: whoever looks at these texts later will ask."
            context = {
                "waiting": len(waiting),
                "selected": queryset.order_by()[:LONGEST_LIST].count(),
                "mistake": asked if _CONFIRMED in request.POST else "",
            }
            return self._page(request, "cancel", "Cancel what waits", context | _chosen(request))
        actor = request.user.get_username()
        done = [pk for pk in waiting if pauses.cancel(pk, actor, reason)]
        self._log(request, done, f"Cancelled: {reason}")
        self.message_user(request, f"Cancelled: {len(done)}.", messages.SUCCESS if done else messages.WARNING)
        return None

    # --- both

    def _log(self, request: HttpRequest, ids: list[int], words: str) -> None:
        """In the log of who did what, one entry a text."""
        rows = SmsMessage.objects.filter(pk__in=ids)
        LogEntry.objects.log_actions(
            user_id=int(str(request.user.pk)), queryset=rows, action_flag=CHANGE, change_message=words
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


def _chosen(request: HttpRequest) -> dict[str, Any]:
    """What the confirming form must repeat: the ticked texts, or that all of the list are meant."""
    across = request.POST.get("select_across") == "1"
    ids = request.POST.getlist(ACTION_CHECKBOX_NAME)
    return {"ids": ids[:1] if across else ids, "across": across, "here": request.get_full_path()}
