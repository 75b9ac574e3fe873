"""The admin as a site: its names, and its guarded login."""

import functools
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path
from django.utils.translation import gettext

from game.rules.limits import client_address
from playmatatu import logins, refusals


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


class Site(admin.AdminSite):
    site_header = site_title = "PlayMatatu"
    index_title = "The state of the house"
    login_form = LoginForm

    def get_urls(self) -> list[URLPattern | URLResolver]:
        from playmatatu.operator.views import find  # once every app is loaded

        return [path("find/", self.admin_view(find), name="find"), *super().get_urls()]

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Any:
        @functools.wraps(view)
        def if_readable(request: HttpRequest, *arguments: Any, **more: Any) -> Any:
            if not _readable(request):
                sentence = "That holds a number or a year that cannot be: nothing was done."
                return refusals.page(request, 400, sentence)
            return view(request, *arguments, **more)

        return super().admin_view(if_readable, cacheable)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        from playmatatu.operator import dashboard

        return super().index(request, {"house": dashboard.gather(request), **(extra_context or {})})

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        answer = super().login(request, extra_context)
        form = getattr(answer, "context_data", {}).get("form")
        if isinstance(form, LoginForm) and form.limited:
            answer.status_code = 429
            answer["Retry-After"] = str(logins.WINDOW_SECONDS)
        return answer


# The keys of every table here are whole numbers of 64 bits.
_LARGEST_KEY = 2**63 - 1


def _readable(request: HttpRequest) -> bool:
    """False for what no page of ours sends, and Django's lists would fail on."""
    keys = request.POST.getlist(ACTION_CHECKBOX_NAME)
    years = [year for name, values in request.GET.lists() if name.endswith("__year") for year in values]
    return all(_is_number(key, _LARGEST_KEY) for key in keys) and all(_is_number(year, 9999) for year in years)


def _is_number(text: str, largest: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20 and 0 < int(text) <= largest
