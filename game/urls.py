"""The pages' addresses."""

from django.urls import path
from django.views.i18n import set_language

from game.pages import link, match, stake, waiting

urlpatterns = [
    path("", stake.stake, name="stake"),
    path("join", stake.stake, name="join"),
    path("waiting", waiting.waiting, name="waiting"),
    path("waiting/leave", waiting.leave, name="leave"),
    path("waiting/retry", stake.retry, name="retry"),
    path("link", link.link, name="link"),
    path("g/<str:game_token>", match.match, name="match"),
    path("g/<str:game_token>/play", match.play, name="play"),
    path("language", set_language, name="language"),
]
