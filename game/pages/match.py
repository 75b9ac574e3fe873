"""The page of a match: who is here, how long, for how much; the game itself is served elsewhere."""

import logging

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.utils.translation import gettext_noop as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from game.models import Entry, Session
from game.pages.cookies import PLAYER_COOKIE, remembered
from game.pages.live import FOREIGN_LINK, friendly, milliseconds, minutes_left, page, to_match
from game.tokens import entry_in, play_address, session_of
from sms.clicks import record_click

logger = logging.getLogger("game.progress")

_SEEN_SECONDS = 15


@never_cache
@require_safe
def match(request: HttpRequest, game_token: str) -> HttpResponse:
    """The match. A right `pt` is exchanged for a cookie and taken off the address; a wrong one is refused."""
    session = session_of(game_token)
    if session is None:
        return friendly(request, 404, _("We know no such match."))
    given = request.GET.get("pt", "")
    if given:
        entry = entry_in(session, given)
        if entry is None:
            return friendly(request, 403, FOREIGN_LINK)
        if request.method == "GET":
            record_click(request, *entry.link_keys)
        return to_match(session, given)
    entry = _player(request, session)
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
        "playable": bool(settings.GAME_URL),
    }
    return page(request, "match", context, live=entry is not None and session.status == "active")


@never_cache
@require_safe
def play(request: HttpRequest, game_token: str) -> HttpResponse:
    """On to the game, with the player's own tokens: no page of ours holds them, and no address of ours."""
    session = session_of(game_token)
    entry = _player(request, session) if session else None
    if session is None or entry is None or session.status != "active" or not settings.GAME_URL:
        return redirect("match", game_token)
    return HttpResponseRedirect(play_address(entry))


def _player(request: HttpRequest, session: Session) -> Entry | None:
    """Whose browser this is, of the session's two."""
    token = remembered(request, PLAYER_COOKIE, f"/g/{session.token}")
    return entry_in(session, token) if token else None


def _seen(entry: Entry) -> None:
    try:
        cache.set(f"game_seen:{entry.pk}", 1, _SEEN_SECONDS)
    # Who is here is a comfort; the match is worth more than it.
    except Exception:  # noqa: BLE001
        logger.warning("game.cache_down: nobody is seen on the match page")


def _is_here(entry: Entry) -> bool:
    try:
        return bool(cache.get(f"game_seen:{entry.pk}"))
    except Exception:  # noqa: BLE001
        logger.warning("game.cache_down: nobody is seen on the match page")
        return False
