"""The page of a match: players, time left, stake, prize and result. The card game itself runs on another server."""

from collections.abc import Collection
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_noop as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from game.etag import etag
from game.models import Entry, Session
from game.pages.cookies import PLAYER_COOKIE, remembered
from game.pages.live import FOREIGN_LINK, milliseconds, minutes_left, not_modified, page, sorry, to_match
from game.tokens import entry_in, play_address, session_of
from game.wording import money_of
from payments.models import MatchResult
from sms import cache
from sms.clicks import record_click
from sms.formats import spaced, ugx

NO_MATCH = _("We can't find this match.")
# A player is shown as present for this many seconds after the player's last poll. The page waits at most 10 seconds
# between two polls.
_SEEN_SECONDS = 25


@never_cache
@require_safe
def link(request: HttpRequest, game_token: str) -> HttpResponse:
    """Open the match link from an SMS. Without the player token `pt`, the page shows no names."""
    session = session_of(game_token)
    if session is None:
        return sorry(request, 404, NO_MATCH)
    token = request.GET.get("pt", "")
    if not token:
        return _match_page(request, session, None)
    entry = entry_in(session, token)
    if entry is None:
        return sorry(request, 403, FOREIGN_LINK)
    if request.method == "GET":
        record_click(request, *entry.link_keys)
    return to_match(session, entry)


@never_cache
@require_safe
def match(request: HttpRequest, game_token: str, pk: int) -> HttpResponse:
    """Show the page of a match. Without the player's cookie, the page shows no names."""
    session = session_of(game_token)
    if session is None:
        return sorry(request, 404, NO_MATCH)
    return _match_page(request, session, _player(request, session, pk))


@never_cache
@require_safe
def play(request: HttpRequest, game_token: str, pk: int) -> HttpResponse:
    """Redirect to the game.

    The target of this redirect contains the player token. Our pages never contain the player token.
    """
    session = session_of(game_token)
    entry = _player(request, session, pk) if session else None
    if session is None or entry is None or session.status != "active" or not settings.GAME_URL:
        return redirect("match", game_token, pk)
    return HttpResponseRedirect(play_address(entry))


def _match_page(request: HttpRequest, session: Session, entry: Entry | None) -> HttpResponse:
    opponent = entry.opponent if entry else None
    if entry is not None:
        _mark_seen(entry)
    here = opponent is not None and _is_here(opponent)
    end = shown_result(entry, opponent) if entry is not None else None
    tag = etag(get_language(), session.status, here, end)
    if unchanged := not_modified(request, tag):
        return unchanged
    context = {
        "session": session,
        "entry": entry,
        "opponent": opponent,
        "opponent_here": here,
        "end": end,
        "playing": entry is not None and end is None,
        "minutes": minutes_left(session.expires_at),
        "ends": milliseconds(session.expires_at),
        "playable": bool(settings.GAME_URL),
    }
    return page(request, "match", context, tag, live=entry is not None and not (end and end.final))


def _player(request: HttpRequest, session: Session, pk: int) -> Entry | None:
    """Return the entry of the player whose page this is, or None if the browser does not have the player's cookie."""
    path = request.path.removesuffix("/play")
    if remembered(request, PLAYER_COOKIE, path) != str(pk):
        return None
    return session.entries.select_related("player", "payment").filter(pk=pk).first()


# Presence is kept in the cache only. If the cache is down, the opponent is shown as absent.


def _mark_seen(entry: Entry) -> None:
    cache.put(f"game_seen:{entry.pk}", 1, _SEEN_SECONDS)


def _is_here(entry: Entry) -> bool:
    return bool(cache.get(f"game_seen:{entry.pk}"))


@dataclass(frozen=True, slots=True)
class Shown:
    """The result of a match, as shown on its page. `tone`: CSS class. `final`: if True, the page stops polling."""

    heading: str
    sentences: list[str]
    tone: str
    final: bool


def decided(payments: Collection[int]) -> set[int]:
    """For each match of `payments` that has a result, return the ids of the match's two payments."""
    if not payments:
        return set()
    results = MatchResult.objects.filter(Q(first__in=payments) | Q(second__in=payments))
    return {pk for pair in results.values_list("first", "second") for pk in pair}


def _prize_sentence(prize: str, phone: str) -> str:
    """Return the sentence about a prize. `prize` is a value of `payments.rules.match.Prize`."""
    if prize == "paid":
        return gettext("We sent it to %(phone)s.") % {"phone": phone}
    if prize == "held":
        return gettext("We are checking the payments of this match before we send it.")
    return gettext("We will send it to %(phone)s.") % {"phone": phone}


def shown_result(entry: Entry, opponent: Entry | None) -> Shown | None:
    """Return the result of a match for one of its players, or None while the match goes on."""
    session = entry.session
    if session is None:
        raise ValueError("An entry without a session has no result.")
    result = MatchResult.objects.filter(Q(first=entry.payment_id) | Q(second=entry.payment_id)).first()
    money = [sentence.translated() for sentence in money_of(entry)]
    if result is None:
        if session.status == "active":
            return None
        unknown = [gettext("We don't know the result of this match yet.")] if settings.GAME_SERVER_SECRET else []
        return Shown(gettext("This match has ended"), money or unknown, "wait", final=not (money or unknown))
    prize = ugx(session.prize_amount)
    if result.outcome == MatchResult.Outcome.WIN:
        if result.winner_id != entry.payment_id:
            name = (opponent.display_name if opponent else "") or gettext("Your opponent")
            lost = gettext("%(name)s won %(prize)s.") % {"name": name, "prize": prize}
            return Shown(gettext("You lost this match"), [lost, *money], "wait", final=True)
        if not result.prize:  # In a demo, stakes can count as paid without money. A match of such stakes has no prize.
            return Shown(gettext("You won"), [], "good", final=True)
        sentence = _prize_sentence(result.prize, spaced(entry.phone))
        return Shown(gettext("You won %(prize)s") % {"prize": prize}, [sentence], "good", final=result.prize == "paid")
    draw = result.outcome == MatchResult.Outcome.DRAW
    heading = gettext("This match was a draw") if draw else gettext("This match was cancelled")
    return Shown(heading, money, "wait", final=entry.payment.refunded_at is not None)
