"""The page of a match."""

import logging

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from game.models import Entry
from game.pages.cookies import PLAYER_COOKIE, remembered
from game.pages.live import milliseconds, minutes_left, page, to_match
from game.tokens import entry_in, session_of

logger = logging.getLogger("game.progress")

_SEEN_SECONDS = 15


@never_cache
@require_safe
def match(request: HttpRequest, game_token: str) -> HttpResponse:
    """The match. A right `pt` is exchanged for a cookie and taken off the address; a wrong one is refused."""
    session = session_of(game_token)
    if session is None:
        return _friendly(request, 404, gettext("We know no such match."))
    given = request.GET.get("pt", "")
    if given:
        if entry_in(session, given) is None:
            return _friendly(
                request,
                403,
                gettext("This link is not yours, or it is not complete: open it from your own text message."),
            )
        return to_match(session, given)
    token = remembered(request, PLAYER_COOKIE, f"/g/{session.token}")
    entry = entry_in(session, token) if token else None
    if entry is not None:
        _seen(entry)
    opponent = entry.opponent if entry else None
    context = {
        "session": session,
        "entry": entry,
        "opponent": opponent,
        "opponent_here": opponent is not None and _is_here(opponent),
        "minutes": minutes_left(session.expires_at),
        "ends": milliseconds(session.expires_at),
    }
    return page(request, "match", context, live=entry is not None and session.status == "active")


def _friendly(request: HttpRequest, status: int, message: str) -> HttpResponse:
    return render(request, "game/sorry.html", {"message": message}, status=status)


def _seen(entry: Entry) -> None:
    try:
        cache.set(f"game_seen:{entry.pk}", 1, _SEEN_SECONDS)
    # Who is here is a comfort; the match is worth more than it.
    except Exception:  # noqa: BLE001
        logger.warning("The cache is down: nobody is seen on the match page.")


def _is_here(entry: Entry) -> bool:
    try:
        return bool(cache.get(f"game_seen:{entry.pk}"))
    except Exception:  # noqa: BLE001
        logger.warning("The cache is down: nobody is seen on the match page.")
        return False
