"""The pages' addresses."""

from django.urls import path

from game import pages

urlpatterns = [
    path("", pages.stake, name="stake"),
    path("join", pages.stake, name="join"),
    path("waiting", pages.waiting, name="waiting"),
    path("waiting/leave", pages.leave, name="leave"),
    path("g/<str:game_token>", pages.match, name="match"),
]
