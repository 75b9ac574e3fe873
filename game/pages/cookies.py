"""The signed cookies of the players' pages.

A cookie that opens a page is limited to the page's path, so that two players can share a browser.
"""

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from game.models import Entry

STAKE_COOKIE = "stake"  # A cookie for /waiting/<id>, the page of a stake. It lets the browser open this page.
PLAYER_COOKIE = "player"  # A cookie for /g/<token>/<id>, a player's page of a match. It lets the browser open the page.
OWN_STAKES_COOKIE = "stakes"  # A cookie for all pages: the ids of the last four stakes of this browser.
ASKED_COOKIE = "asked"  # A cookie for /waiting: the phone number last entered in *Text me my link*.
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
    """Return the value of a signed cookie. Return "" if the cookie is missing, forged, or was set for another path."""
    value = request.get_signed_cookie(name, default="", salt=path)
    return value if isinstance(value, str) else ""


def remember_stake(response: HttpResponse, entry: Entry) -> None:
    """Set the cookie that lets this browser open the page of a stake."""
    remember(response, STAKE_COOKIE, str(entry.pk), path=reverse("waiting", args=[entry.pk]))


def remember_own_stake(request: HttpRequest, response: HttpResponse, entry: Entry) -> None:
    """Let this browser open the page of a stake, and list the stake on the start page."""
    remember_stake(response, entry)
    newest = [entry.pk, *(pk for pk in _own_stakes(request) if pk != entry.pk)]
    remember(response, OWN_STAKES_COOKIE, ".".join(map(str, newest[:_OWN_STAKES])), path="/")


def may_see(request: HttpRequest, pk: int) -> bool:
    """Return True if this browser may open the page of the stake with this id."""
    return remembered(request, STAKE_COOKIE, reverse("waiting", args=[pk])) == str(pk)


def stake_of(request: HttpRequest, pk: int) -> Entry | None:
    """Return the stake with this id, or None if this browser may not open its page."""
    return _entries().filter(pk=pk).first() if may_see(request, pk) else None


def own_stakes(request: HttpRequest) -> list[Entry]:
    """Return up to four stakes that the start page lists for this browser, newest first."""
    keys = _own_stakes(request)
    return list(_entries().filter(pk__in=keys).order_by("-pk")) if keys else []


def _entries() -> "QuerySet[Entry]":
    return Entry.objects.select_related("player", "session", "payment")


def _own_stakes(request: HttpRequest) -> list[int]:
    return [int(pk) for pk in remembered(request, OWN_STAKES_COOKIE, "/").split(".") if pk]
