"""The admin as a site: its names, and its guarded login."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path
from django.utils.translation import gettext

from game.rules.addresses import client_address
from playmatatu import logins


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

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        from playmatatu.operator import house

        return super().index(request, {"house": house.gather(request), **(extra_context or {})})

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        answer = super().login(request, extra_context)
        form = getattr(answer, "context_data", {}).get("form")
        if isinstance(form, LoginForm) and form.limited:
            answer.status_code = 429
            answer["Retry-After"] = str(logins.WINDOW_SECONDS)
        return answer
