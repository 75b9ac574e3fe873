"""The pages that move on by themselves, with JavaScript or without: waiting, and the match.

A player's tokens never stay in an address: the queue's goes into a signed cookie at staking, the player's at the
first use of the link.
"""

import logging
from datetime import datetime
from math import ceil
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from game import stakes
from game.answers import end_of
from game.cookies import PLAYER_COOKIE, QUEUE_COOKIE, remember, remembered
from game.limits import INVITE_REFUSALS
from game.matching import prize
from game.models import Entry, Session
from game.tokens import entry_in, entry_of, player_token, session_of
from game.words import INVITE_WORDS
from sms.models import SmsMessage
from sms.phone import to_local

logger = logging.getLogger("game.progress")

_SEEN_SECONDS = 15


@never_cache
@require_safe
def waiting(request: HttpRequest) -> HttpResponse:
    """What happens to the stake of this browser; moves on to the match when there is one."""
    entry = entry_of(remembered(request, QUEUE_COOKIE, "/waiting"))
    if entry is None:
        return redirect("stake")
    if entry.state == Entry.Status.MATCHED and entry.session is not None:
        return _to_match(entry.session, player_token(entry))
    return _page(request, "waiting", _waiting_context(entry), live=entry.state != Entry.Status.EXPIRED)


def _page(request: HttpRequest, name: str, context: dict[str, Any], *, live: bool) -> HttpResponse:
    """The page, or for the script on it the part that may have changed."""
    template = f"game/{name}_part.html" if request.headers.get("X-Part") else f"game/{name}.html"
    return render(request, template, context | {"live": live, "now": _milliseconds(timezone.now())})


def _waiting_context(entry: Entry) -> dict[str, Any]:
    state = entry.state
    reason, sentences = end_of(entry) if state == Entry.Status.EXPIRED else ("", [])
    invite = SmsMessage.objects.filter(dedupe_key=entry.invite_key).first() if entry.invite_phone else None
    return {
        "entry": entry,
        "state": state,
        "reason": reason,
        "sentences": [gettext(sentence) for sentence in sentences],
        "invite_status": invite.status if invite else "",
        "invite_words": _invite_words(entry, invite),
        "invite_number": to_local(entry.invite_phone) if entry.invite_phone else "",
        "prize": prize(entry.stake_amount),
        "minutes": _minutes(entry.expires_at),
        "ends": _milliseconds(entry.expires_at),
        "join_url": f"{settings.FRONTEND_URL.rstrip('/')}/join?match_code={entry.match_code or ''}",
    }


def _invite_words(entry: Entry, invite: SmsMessage | None) -> str:
    if invite is not None:
        return str(INVITE_WORDS[invite.status])
    # Not of "": that is the catalogue's header.
    return gettext(INVITE_REFUSALS[entry.invite_refused]) if entry.invite_refused in INVITE_REFUSALS else ""


def _minutes(moment: datetime | None) -> int:
    return max(0, ceil((moment - timezone.now()).total_seconds() / 60)) if moment else 0


def _milliseconds(moment: datetime | None) -> str:
    """For the script's clock; a text, so that no language puts separators in."""
    return str(int(moment.timestamp() * 1000)) if moment else ""


@require_POST
def leave(request: HttpRequest) -> HttpResponse:
    entry = entry_of(remembered(request, QUEUE_COOKIE, "/waiting"))
    if entry is not None:
        stakes.leave(entry)
    return redirect("waiting")


def _to_match(session: Session, token: str) -> HttpResponseRedirect:
    path = f"/g/{session.token}"
    answer = HttpResponseRedirect(path)
    remember(answer, PLAYER_COOKIE, token, path=path)
    return answer


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
        return _to_match(session, given)
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
        "minutes": _minutes(session.expires_at),
        "ends": _milliseconds(session.expires_at),
    }
    return _page(request, "match", context, live=entry is not None and session.status == "active")


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
