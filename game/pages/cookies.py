"""Signed cookies that let a browser see the pages of its players.

Each page of a player has a cookie that is limited to the page's path, so that two players can use the same browser. The
start page has another cookie, which lists the stakes that were placed in this browser.
"""

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from game.models import Entry

STAKE_COOKIE = "stake"  # path /waiting/<id>: allows this browser to see the stake
PLAYER_COOKIE = "player"  # path /g/<token>/<id>: allows this browser to play the match
OWN_STAKES_COOKIE = "stakes"  # path /: the ids of the stakes placed in this browser, newest first
ASKED_COOKIE = "asked"  # path /waiting: the phone number for which this browser requested *Text me my link*
_SECONDS = 86400
_OWN_STAKES = 4


def remember(response: HttpResponse, name: str, value: str, path: str) -> None:
    response.set_signed_cookie(
        name,
        value,
        salt=path,
        path=path,
        max_age=_SECONDS,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )


def remembered(request: HttpRequest, name: str, path: str) -> str:
    """Return the value of a signed cookie, or "" if it is missing, forged, or was set for another path."""
    value = request.get_signed_cookie(name, default="", salt=path)
    return value if isinstance(value, str) else ""


def remember_stake(response: HttpResponse, entry: Entry) -> None:
    """Set the cookie that lets this browser see the page of a stake."""
    remember(response, STAKE_COOKIE, str(entry.pk), path=reverse("waiting", args=[entry.pk]))


def remember_own_stake(request: HttpRequest, response: HttpResponse, entry: Entry) -> None:
    """Set the cookies that let this browser see the page of a stake, and let the start page list the stake."""
    remember_stake(response, entry)
    newest = [entry.pk, *(pk for pk in _own_stakes(request) if pk != entry.pk)]
    remember(response, OWN_STAKES_COOKIE, ".".join(map(str, newest[:_OWN_STAKES])), path="/")


def may_see(request: HttpRequest, pk: int) -> bool:
    """Return True if this browser has the cookie for the page of the stake with this id."""
    return remembered(request, STAKE_COOKIE, reverse("waiting", args=[pk])) == str(pk)


def stake_of(request: HttpRequest, pk: int) -> Entry | None:
    """Return the stake with this id, or None if this browser has no cookie for it."""
    return _entries().filter(pk=pk).first() if may_see(request, pk) else None


def own_stakes(request: HttpRequest) -> list[Entry]:
    """Return the stakes that were placed in this browser, newest first."""
    keys = _own_stakes(request)
    return list(_entries().filter(pk__in=keys).order_by("-pk")) if keys else []


def _entries() -> "QuerySet[Entry]":
    return Entry.objects.select_related("player", "session", "payment")


def _own_stakes(request: HttpRequest) -> list[int]:
    return [int(pk) for pk in remembered(request, OWN_STAKES_COOKIE, "/").split(".") if pk]
