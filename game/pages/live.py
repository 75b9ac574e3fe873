"""Helpers for pages that update by themselves, with or without JavaScript.

A link with a player's token is redirected to a URL without the token, and a signed cookie replaces the token.
"""

from datetime import datetime
from hashlib import sha256
from math import ceil
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_noop as _

from game.models import Entry, Session
from game.pages.cookies import PLAYER_COOKIE, remember
from sms import clock

FOREIGN_LINK = _("This link is not yours or is incomplete. Open it from your own SMS.")


def is_poll(request: HttpRequest) -> bool:
    """Return True if the page's own script sent this request.

    The script needs only the part of the page that can change.
    """
    return bool(request.headers.get("X-Part"))


def etag(*facts: object) -> str:
    """Return an ETag from the facts that decide what the page says, and from the page's language."""
    return f'"{sha256(repr((get_language(), facts)).encode()).hexdigest()[:24]}"'


def not_modified(request: HttpRequest, tag: str) -> HttpResponse | None:
    """Return a 304 response if the script already shows the page with this ETag, otherwise None."""
    if not is_poll(request) or request.headers.get("If-None-Match") != tag:
        return None
    response = HttpResponseNotModified()
    response["ETag"] = tag
    return response


def page(request: HttpRequest, name: str, context: dict[str, Any], tag: str, *, live: bool) -> HttpResponse:
    """Render the page, or for a request of its script only the part that can change.

    `live`: True if the page may still change, so that it keeps polling.
    """
    template = f"game/{name}_part.html" if is_poll(request) else f"game/{name}.html"
    response = render(request, template, context | {"live": live, "tag": tag, "now": milliseconds(clock.now())})
    response["ETag"] = tag
    return response


def minutes_left(moment: datetime | None) -> int:
    return max(0, ceil((moment - clock.now()).total_seconds() / 60)) if moment else 0


def milliseconds(moment: datetime | None) -> str:
    """Return a time in milliseconds for the countdown in JavaScript. It is a `str`, so that localization adds no
    separators.
    """
    return str(int(moment.timestamp() * 1000)) if moment else ""


def to_match(session: Session, entry: Entry) -> HttpResponseRedirect:
    """Redirect to this player's own page of the match."""
    path = reverse("match", args=[session.token, entry.pk])
    response = HttpResponseRedirect(path)
    remember(response, PLAYER_COOKIE, str(entry.pk), path=path)
    return response


def sorry(request: HttpRequest, status: int, sentence: str) -> HttpResponse:
    """Render an error page with one sentence and a link to the start page."""
    return render(request, "game/sorry.html", {"message": gettext(sentence)}, status=status)
