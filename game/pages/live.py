"""Helpers of the pages that update by themselves, with JavaScript or without.

A player's token never stays in an address: it is exchanged for a signed cookie when a link is opened.
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

from game import clock
from game.models import Entry, Session
from game.pages.cookies import PLAYER_COOKIE, remember

FOREIGN_LINK = _("This link is not yours or is incomplete. Open it from your own SMS.")


def is_poll(request: HttpRequest) -> bool:
    """Return True for a request of the page's own script, which asks for the changing part only."""
    return bool(request.headers.get("X-Part"))


def etag(*facts: object) -> str:
    """Return an entity tag of the facts that decide what the page says, in the page's language."""
    return f'"{sha256(repr((get_language(), facts)).encode()).hexdigest()[:24]}"'


def not_modified(request: HttpRequest, tag: str) -> HttpResponse | None:
    """Return 304 if the script already shows what `tag` stands for."""
    if not is_poll(request) or request.headers.get("If-None-Match") != tag:
        return None
    response = HttpResponseNotModified()
    response["ETag"] = tag
    return response


def page(request: HttpRequest, name: str, context: dict[str, Any], tag: str, *, live: bool) -> HttpResponse:
    """Render the page, or only its changing part for the script. `live`: the page may still change."""
    template = f"game/{name}_part.html" if is_poll(request) else f"game/{name}.html"
    response = render(request, template, context | {"live": live, "tag": tag, "now": milliseconds(clock.now())})
    response["ETag"] = tag
    return response


def minutes_left(moment: datetime | None) -> int:
    return max(0, ceil((moment - clock.now()).total_seconds() / 60)) if moment else 0


def milliseconds(moment: datetime | None) -> str:
    """Return the moment for the script's clock, as `str` so that localization adds no thousands separators."""
    return str(int(moment.timestamp() * 1000)) if moment else ""


def to_match(session: Session, entry: Entry) -> HttpResponseRedirect:
    """Redirect to the match page of this player. Each player's page has an address of its own."""
    path = reverse("match", args=[session.token, entry.pk])
    response = HttpResponseRedirect(path)
    remember(response, PLAYER_COOKIE, str(entry.pk), path=path)
    return response


def sorry(request: HttpRequest, status: int, sentence: str) -> HttpResponse:
    """Render a page with one sentence and the way home."""
    return render(request, "game/sorry.html", {"message": gettext(sentence)}, status=status)
