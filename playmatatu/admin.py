"""The admin site, with limits on failed logins, strict list filters, and refusal of malformed requests."""

import functools
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.db.models.base import ModelBase
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path
from django.utils.translation import gettext

from game.pages.live import sorry
from game.rules.limits import client_address
from playmatatu import logins
from sms.admin_base import BoundedAdmin, StrictLookups
from sms.csv_export import CsvExport


class LoginForm(AdminAuthenticationForm):
    limited = False

    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username")
        if not name or not self.cleaned_data.get("password"):
            return self.cleaned_data
        login = logins.begin(name, client_address(self.request)) if self.request else None
        if login is None:
            self.limited = True
            raise ValidationError(
                gettext("Too many failed logins; try again in %(minutes)d minutes."),
                params={"minutes": logins.WINDOW_SECONDS // 60},
            )
        cleaned = super().clean()
        logins.succeeded(login)
        return cleaned


class Accounts:
    """Admin mixin for user accounts. They can be deactivated, but not deleted.

    Deleting an account would also delete the log of the user's actions.
    """

    actions = ("deactivate",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.action(description="Deactivate: the user can no longer log in", permissions=["change"])
    def deactivate(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        """Deactivate the selected accounts, except the account of the user who runs this action."""
        for user in queryset.exclude(pk=request.user.pk).filter(is_active=True):
            user.is_active = False
            user.save(update_fields=["is_active"])
            self.log_change(request, user, "Deactivated.")  # type: ignore[attr-defined]


class Site(admin.AdminSite):
    site_header = site_title = "PlayMatatu"
    index_title = "Overview"
    # Shown in empty cells. The style sheet hides this dash on small screens.
    empty_value_display = '<span class="pm-none">-</span>'
    login_form = LoginForm

    def get_urls(self) -> list[URLPattern | URLResolver]:
        # This import must wait until all apps are loaded, because the views import models.
        from playmatatu.operator.find import add_note, find

        own = [
            path("find/", self.admin_view(find), name="find"),
            path("find/note/", self.admin_view(add_note), name="find_note"),
        ]
        return [*own, *super().get_urls()]

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Register models. Their admin lists refuse unknown filters and count a limited number of rows."""
        models = [model_or_iterable] if isinstance(model_or_iterable, ModelBase) else model_or_iterable
        for model in models:
            given = admin_class or admin.ModelAdmin
            added: list[type] = [BoundedAdmin] if not issubclass(given, StrictLookups) else []
            if hasattr(given, "csv_columns") and not issubclass(given, CsvExport):
                added.insert(0, CsvExport)
            bases = (Accounts, given, *added) if model is get_user_model() else (given, *added)
            super().register(model, type(given.__name__, bases, {"__module__": given.__module__}), **options)

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Any:
        @functools.wraps(view)
        def if_readable(request: HttpRequest, *arguments: Any, **more: Any) -> Any:
            if not _readable(request):
                sentence = "This address or form holds a value that is not valid. Nothing was changed."
                return sorry(request, 400, sentence)
            try:
                return view(request, *arguments, **more)
            except DisallowedModelAdminLookup:
                return sorry(request, 400, "This list cannot be filtered like that.")

        return super().admin_view(if_readable, cacheable)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        from playmatatu.operator import dashboard

        sections = dashboard.gather(request)
        context = {"sections": sections, "attention": sections[dashboard.ATTENTION], **(extra_context or {})}
        return super().index(request, context)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        answer = super().login(request, extra_context)
        form = getattr(answer, "context_data", {}).get("form")
        if isinstance(form, LoginForm) and form.limited:
            answer.status_code = 429
            answer["Retry-After"] = str(logins.WINDOW_SECONDS)
        return answer


# The primary keys of all tables in the admin are positive integers of at most 64 bits.
_LARGEST_KEY = 2**63 - 1


def _readable(request: HttpRequest) -> bool:
    """Return False if a selected id or a year in a filter is invalid.

    Django's list pages would fail with such a value.
    """
    keys = request.POST.getlist(ACTION_CHECKBOX_NAME)
    years = [year for name, values in request.GET.lists() if name.endswith("__year") for year in values]
    return all(_is_number(key, _LARGEST_KEY) for key in keys) and all(_is_number(year, 9999) for year in years)


def _is_number(text: str, largest: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20 and 0 < int(text) <= largest
