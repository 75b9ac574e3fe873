"""The pages' addresses."""

from django.urls import path
from django.views.i18n import set_language

from game import pages, progress

urlpatterns = [
    path("", pages.stake, name="stake"),
    path("join", pages.stake, name="join"),
    path("waiting", progress.waiting, name="waiting"),
    path("waiting/leave", progress.leave, name="leave"),
    path("waiting/retry", pages.retry, name="retry"),
    path("g/<str:game_token>", progress.match, name="match"),
    path("language", set_language, name="language"),
]
