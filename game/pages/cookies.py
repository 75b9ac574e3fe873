"""What a browser remembers of its player: signed, and sent to the pages alone that need it."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from game.models import Entry
from game.tokens import entry_of, queue_token

STAKE_COOKIE = "stake"
PLAYER_COOKIE = "player"
_SECONDS = 86400


def remember(answer: HttpResponse, name: str, value: str, path: str) -> None:
    answer.set_signed_cookie(
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
    value = request.get_signed_cookie(name, default="", salt=path)
    return value if isinstance(value, str) else ""


def remember_stake(answer: HttpResponse, entry: Entry) -> None:
    """For all pages: the start finds it again too."""
    remember(answer, STAKE_COOKIE, queue_token(entry), path="/")


def own_stake(request: HttpRequest) -> Entry | None:
    """This browser's last stake."""
    return entry_of(remembered(request, STAKE_COOKIE, "/"))
