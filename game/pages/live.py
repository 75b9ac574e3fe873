"""Helpers for players' pages: pages that update themselves by polling, redirects to a match, and error pages."""

from datetime import datetime
from math import ceil
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from game.models import Entry, Session
from game.pages.cookies import PLAYER_COOKIE, remember
from game.rules.validation import Refused
from sms import clock

FOREIGN_LINK = _("This link is not yours or is incomplete. Open it from your own SMS.")


def is_poll(request: HttpRequest) -> bool:
    """Return True if the page's script sent this request, to update the part of the page that can change."""
    return bool(request.headers.get("X-Part"))


def not_modified(request: HttpRequest, tag: str) -> HttpResponse | None:
    """Return a 304 response if the browser already shows the version with this ETag, otherwise None."""
    if not is_poll(request) or request.headers.get("If-None-Match") != tag:
        return None
    response = HttpResponseNotModified()
    response["ETag"] = tag
    return response


def page(request: HttpRequest, name: str, context: dict[str, Any], tag: str, *, live: bool) -> HttpResponse:
    """Render the whole page. For a poll by the page's script, render only the part that can change.

    `live`: if True, the page keeps polling.
    """
    template = f"game/{name}_part.html" if is_poll(request) else f"game/{name}.html"
    response = render(request, template, context | {"live": live, "tag": tag, "now": milliseconds(clock.now())})
    response["ETag"] = tag
    return response


def minutes_left(moment: datetime | None) -> int:
    return max(0, ceil((moment - clock.now()).total_seconds() / 60)) if moment else 0


def milliseconds(moment: datetime | None) -> str:
    """Return a time in milliseconds since 1970, for JavaScript.

    The result is a `str`, because localization would add separators to a number.
    """
    return str(int(moment.timestamp() * 1000)) if moment else ""


def to_match(session: Session, entry: Entry) -> HttpResponseRedirect:
    """Set the player's cookie and redirect to the player's own page of the match."""
    path = reverse("match", args=[session.token, entry.pk])
    response = HttpResponseRedirect(path)
    remember(response, PLAYER_COOKIE, str(entry.pk), path=path)
    return response


def with_retry(response: HttpResponse, refusal: Refused) -> HttpResponse:
    """If the refusal has `retry_after`, set the response's status and `Retry-After`. Otherwise change nothing."""
    if refusal.retry_after is not None:
        response.status_code = refusal.status
        response["Retry-After"] = str(refusal.retry_after)
    return response


def sorry(request: HttpRequest, status: int, sentence: str) -> HttpResponse:
    """Render an error page with one sentence and a link to the start page."""
    return render(request, "game/sorry.html", {"message": gettext(sentence)}, status=status)
