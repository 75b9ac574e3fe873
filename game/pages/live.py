"""What the pages that move on by themselves share, with JavaScript or without.

A player's tokens never stay in an address: the stake's goes into a signed cookie at staking, the player's at the
first use of the link.
"""

from datetime import datetime
from math import ceil
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from game import clock
from game.models import Session
from game.pages.cookies import PLAYER_COOKIE, remember

FOREIGN_LINK = _("This link is not yours, or it is not complete: open it from your own text message.")


def page(request: HttpRequest, name: str, context: dict[str, Any], *, live: bool) -> HttpResponse:
    """The page, or for the script on it the part that may have changed."""
    template = f"game/{name}_part.html" if request.headers.get("X-Part") else f"game/{name}.html"
    return render(request, template, context | {"live": live, "now": milliseconds(clock.now())})


def minutes_left(moment: datetime | None) -> int:
    return max(0, ceil((moment - clock.now()).total_seconds() / 60)) if moment else 0


def milliseconds(moment: datetime | None) -> str:
    """For the script's clock; a text, so that no language puts separators in."""
    return str(int(moment.timestamp() * 1000)) if moment else ""


def to_match(session: Session, token: str) -> HttpResponseRedirect:
    path = f"/g/{session.token}"
    answer = HttpResponseRedirect(path)
    remember(answer, PLAYER_COOKIE, token, path=path)
    return answer


def friendly(request: HttpRequest, status: int, sentence: str) -> HttpResponse:
    """A page that says why there is no other one, and leads to the start."""
    return render(request, "game/sorry.html", {"message": gettext(sentence)}, status=status)
