"""URLs of the players' pages."""

from django.urls import path
from django.views.i18n import set_language

from game.pages import match, stake, waiting

urlpatterns = [
    path("", stake.stake, name="stake"),
    path("join", stake.stake, name="join"),
    path("join/stop", stake.stop, name="stop"),
    path("waiting", waiting.find, name="find"),
    path("waiting/<int:pk>", waiting.waiting, name="waiting"),
    path("waiting/<int:pk>/cancel", waiting.cancel, name="cancel"),
    path("waiting/<int:pk>/leave", waiting.cancel),  # Pages rendered by the previous release still use this URL.
    path("waiting/<int:pk>/retry", stake.retry, name="retry"),
    path("link", waiting.link, name="link"),
    path("g/<str:game_token>", match.link, name="match_link"),
    path("g/<str:game_token>/<int:pk>", match.match, name="match"),
    path("g/<str:game_token>/<int:pk>/play", match.play, name="play"),
    path("language", set_language, name="language"),
]
