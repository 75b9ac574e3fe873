"""The log views: every text and what became of it. Read-only, but for the operator's hands (`console/hands.py`)."""

from contextlib import suppress
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from sms import clock, conf, outbox, owners, timeline
from sms.console import export, filters, full_phone
from sms.console.actions import Hands
from sms.console.admin import HoldAdmin, NeverAdmin
from sms.errors import SmsError
from sms.models import OPEN, SmsMessage, SmsPause, SmsSuppression, Status
from sms.stats.wording import span
from sms.text.phone import to_e164
from sms.text.redaction import mask_phone, redact
from sms.text.segments import segments


@admin.register(SmsMessage)
class SmsMessageAdmin(Hands):
    list_display = ("time", "state", "masked_phone", "kind", "cost", "tries", "provider_id", "open_for", "age")
    list_filter = ("status", filters.KindFilter, filters.WhenFilter, filters.ReasonFilter)
    list_per_page = 50
    list_max_show_all = 200
    paginator = filters.BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("phone",)
    search_help_text = _("A phone number in any form, DMark's id, or the reference")
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
        "behind_it",
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

    readonly_fields = (*fields, "phone")

    class Media:
        css = {"all": ("sms/console.css",)}  # noqa: RUF012

    # --- columns

    @admin.display(description=_("time"), ordering="created_at")
    def time(self, message: SmsMessage) -> str:
        return f"{timezone.localtime(message.created_at):%d.%m.%y %H:%M:%S}"

    def get_list_display(self, request: HttpRequest) -> Any:
        return full_phone.columns(request, self.list_display)

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        return [name for name in list_display if name in ("time", "phone", "masked_phone")]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return full_phone.columns(request, self.fields)

    @admin.display(description=_("phone"), ordering="phone")
    def masked_phone(self, message: SmsMessage) -> str:
        return mask_phone(message.phone)

    @admin.display(description=_("age"))
    def age(self, message: SmsMessage) -> str:
        return f"{span((clock.now() - message.created_at).total_seconds())} ago"

    @admin.display(description=_("status"))
    def state(self, message: SmsMessage) -> SafeString:
        why = (
            format_html('<span class="sms-why">{}</span>', Truncator(message.error).chars(120)) if message.error else ""
        )
        return format_html('<span class="sms-state {}">{}</span>{}', message.status, message.get_status_display(), why)

    @admin.display(description=_("tries"))
    def tries(self, message: SmsMessage) -> int:
        return message.attempts

    @admin.display(description=_("SMS"))
    def cost(self, message: SmsMessage) -> SafeString | str:
        price = conf.current().segment_cost
        if not price:
            return str(message.segments)
        return format_html(
            '<span class="sms-cost">{} · {} UGX</span>', message.segments, f"{message.segments * price:.0f}"
        )

    @admin.display(description=_("open for"))
    def open_for(self, message: SmsMessage) -> str:
        return span((clock.now() - message.created_at).total_seconds()) if message.status in OPEN else ""

    # --- one message

    @admin.display(description=_("what that means"))
    def meaning(self, message: SmsMessage) -> str:
        words = timeline.MEANINGS[message.status]
        return f"{words} {message.error}" if message.error else words

    @admin.display(description=_("text"))
    def shown_text(self, message: SmsMessage) -> str:
        return redact(message.text)

    @admin.display(description=_("segments"))
    def shown_segments(self, message: SmsMessage) -> str:
        counted = segments(message.text)
        price = conf.current().segment_cost
        cost = f", {message.segments * price:.0f} UGX" if price else ""
        return f"{message.segments or counted.count} SMS ({counted.encoding}, {counted.length} characters{cost})"

    @admin.display(description=_("behind it"))
    def behind_it(self, message: SmsMessage) -> SafeString | str:
        links = [format_html('<a href="{}">{}</a>', link.url, link.label) for link in owners.links(message)]
        return SafeString(", ".join(links)) if links else "nothing but the text itself"

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
            waits = self.has_cancel_permission(request) and message.status == Status.QUEUED
            context |= {"timeline": timeline.lines(message), "can_resend": able, "can_cancel": waits}
            context["message_id"] = message.pk
        return super().change_view(request, object_id, form_url, context)

    # --- the list

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        """By whole values, so that an index answers: a phone in any notation, DMark's id, a reference or its start."""
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        wanted = Q(provider_id=term) | Q(dedupe_key=term) | Q(dedupe_key__startswith=f"{term}:")
        with suppress(SmsError):  # no number, so one of the others
            wanted |= Q(phone=to_e164(term))
        return queryset.filter(wanted), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        query = request.GET.urlencode()
        context = {"export_query": query, "longest_list": filters.LONGEST_LIST, **(extra_context or {})}
        return super().changelist_view(request, context)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.export)
        return [path("export/", view, name="sms_smsmessage_export"), *super().get_urls()]

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """The filtered list as CSV, all of it."""
        if not self.has_view_permission(request):
            return HttpResponse("You may not see the texts.", status=403, content_type="text/plain")
        try:
            rows = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return HttpResponse("A filter in the address cannot be read.", status=400, content_type="text/plain")
        name = f"sms-{timezone.localtime():%Y%m%d-%H%M}.csv"
        return StreamingHttpResponse(
            export.lines(rows),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    # --- who may do what

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


admin.site.register(SmsPause, HoldAdmin)
admin.site.register(SmsSuppression, NeverAdmin)
