"""The URLs of the whole site."""

from django.contrib import admin
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from playmatatu.api import api, unknown
from playmatatu.metrics import metrics

handler500 = "playmatatu.middleware.on_error"
urlpatterns = [
    # Browsers request /favicon.ico for pages without their own icon, such as the admin's.
    path("favicon.ico", lambda _request: redirect(static("game/icon.svg"))),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("api/", unknown),
    path("api/v1/momo/", include("payments.webhooks")),
    path("api/", api.urls),
    re_path(r"^api/", unknown),
    path("metrics", metrics),
    path("sms/", include("sms.urls")),
    path("", include("game.urls")),
]
