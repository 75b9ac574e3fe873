"""What a browser remembers of its player: signed, and sent to the one page that needs it."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse

QUEUE_COOKIE = "queue"
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
