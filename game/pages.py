"""The pages: staking, waiting, and the match. Work without JavaScript; with it, they move on by themselves.

A player's tokens never stay in an address: the queue's goes into a signed cookie at staking, the player's at the
first use of the link.
"""

from datetime import datetime
from math import ceil
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from game import stakes
from game.answers import status_answer
from game.codes import read_code
from game.errors import Refused
from game.forms import PRESETS, StakeForm
from game.limits import client_address, count_wrong_code, refuse_code_guessing
from game.models import Entry, Session
from game.tokens import entry_in, entry_of, player_token, queue_token, session_of
from sms.models import SmsMessage

QUEUE_COOKIE = "queue"
PLAYER_COOKIE = "player"
_COOKIE_SECONDS = 86400
_SEEN_SECONDS = 15


@never_cache
def stake(request: HttpRequest) -> HttpResponse:
    """`/` and `/join`: the form, empty or filled in for a code."""
    if request.method == "POST":
        return _placed(request)
    code = request.GET.get("match_code", "").strip()
    form = StakeForm(initial={"opponent": "code" if code else "anyone", "match_code": code})
    notice = ""
    if code:
        try:
            form.initial.update(_of_code(code, request))
        except Refused as refusal:
            notice = refusal.message
    return _form_page(request, form, notice=notice)


def _of_code(code: str, request: HttpRequest) -> dict[str, Any]:
    """What the form may fill in for a match code; raises Refused where the code is no good."""
    address = client_address(request)
    refuse_code_guessing(address)
    try:
        entry = Entry.objects.select_related("session").filter(match_code=read_code(code)).first()
    except ValueError as error:
        raise Refused(400, str(error)) from None
    if entry is None:
        count_wrong_code(address)
        raise Refused(404, "No match has this code; check it with your friend.")
    if entry.state != Entry.Status.OPEN:
        raise Refused(409, "This match is no longer open; you can play against anyone, or invite a friend yourself.")
    return {"stake_amount": str(entry.stake_amount)}


def _placed(request: HttpRequest) -> HttpResponse:
    form = StakeForm(request.POST)
    if not form.is_valid():
        return _form_page(request, form, status=400)
    try:
        placed = stakes.place(form.stake(client_address(request)))
    except Refused as refusal:
        form.add_error(refusal.field if refusal.field in form.fields else None, refusal.message)
        answer = _form_page(request, form, status=refusal.status)
        if refusal.retry_after is not None:
            answer["Retry-After"] = str(refusal.retry_after)
        return answer
    answer = redirect("waiting")
    _remember(answer, QUEUE_COOKIE, queue_token(placed.entry), path="/waiting")
    return answer


def _form_page(request: HttpRequest, form: StakeForm, *, notice: str = "", status: int = 200) -> HttpResponse:
    return render(request, "game/stake.html", {"form": form, "presets": PRESETS, "notice": notice}, status=status)


def _remember(answer: HttpResponse, name: str, value: str, path: str) -> None:
    answer.set_signed_cookie(
        name,
        value,
        salt=path,
        path=path,
        max_age=_COOKIE_SECONDS,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )


def _remembered(request: HttpRequest, name: str, path: str) -> str:
    value = request.get_signed_cookie(name, default="", salt=path)
    return value if isinstance(value, str) else ""


@never_cache
@require_safe
def waiting(request: HttpRequest) -> HttpResponse:
    """What happens to the stake of this browser; moves on to the match when there is one."""
    entry = entry_of(_remembered(request, QUEUE_COOKIE, "/waiting"))
    if entry is None:
        return redirect("stake")
    if entry.state == Entry.Status.MATCHED and entry.session is not None:
        return _to_match(entry.session, player_token(entry))
    template = "game/waiting_part.html" if request.headers.get("X-Part") else "game/waiting.html"
    return render(request, template, _waiting_context(entry))


def _waiting_context(entry: Entry) -> dict[str, Any]:
    invite = SmsMessage.objects.filter(dedupe_key=entry.invite_key).first() if entry.invite_phone else None
    return {
        "entry": entry,
        "state": entry.state,
        "answer": status_answer(entry),
        "invite": invite,
        "minutes": _minutes(entry.expires_at),
        "join_url": f"{settings.FRONTEND_URL.rstrip('/')}/join?match_code={entry.match_code or ''}",
    }


def _minutes(moment: datetime | None) -> int:
    return max(0, ceil((moment - timezone.now()).total_seconds() / 60)) if moment else 0


@require_POST
def leave(request: HttpRequest) -> HttpResponse:
    entry = entry_of(_remembered(request, QUEUE_COOKIE, "/waiting"))
    if entry is not None:
        stakes.leave(entry)
    return redirect("waiting")


def _to_match(session: Session, token: str) -> HttpResponseRedirect:
    path = f"/g/{session.token}"
    answer = HttpResponseRedirect(path)
    _remember(answer, PLAYER_COOKIE, token, path=path)
    return answer


@never_cache
@require_safe
def match(request: HttpRequest, game_token: str) -> HttpResponse:
    """The match. A right `pt` is exchanged for a cookie and taken off the address; a wrong one is refused."""
    session = session_of(game_token)
    if session is None:
        return _friendly(request, 404, "We know no such match.")
    given = request.GET.get("pt", "")
    if given:
        if entry_in(session, given) is None:
            return _friendly(request, 403, "This link is not yours, or it is not complete.")
        return _to_match(session, given)
    remembered = _remembered(request, PLAYER_COOKIE, f"/g/{session.token}")
    entry = entry_in(session, remembered) if remembered else None
    if entry is not None:
        _seen(entry)
    context = {
        "session": session,
        "entry": entry,
        "opponent": entry.opponent if entry else None,
        "opponent_here": entry is not None and entry.opponent is not None and _is_here(entry.opponent),
        "minutes": _minutes(session.expires_at),
    }
    template = "game/match_part.html" if request.headers.get("X-Part") else "game/match.html"
    return render(request, template, context)


def _friendly(request: HttpRequest, status: int, message: str) -> HttpResponse:
    return render(request, "game/sorry.html", {"message": message}, status=status)


def _seen(entry: Entry) -> None:
    try:
        cache.set(f"game_seen:{entry.pk}", 1, _SEEN_SECONDS)
    # Who is here is a comfort; the match is worth more than it.
    except Exception:  # noqa: BLE001
        stakes.logger.warning("The cache is down: nobody is seen on the match page.")


def _is_here(entry: Entry) -> bool:
    try:
        return bool(cache.get(f"game_seen:{entry.pk}"))
    except Exception:  # noqa: BLE001
        stakes.logger.warning("The cache is down: nobody is seen on the match page.")
        return False
