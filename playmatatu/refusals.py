"""Refuse invalid requests before any view handles them, and respond 503 if the database is unavailable."""

import sys
from collections.abc import Callable, Iterator

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext
from django.views.defaults import server_error

from playmatatu.api import RETRY_SECONDS, body_length, has_unknown_length, log_unavailable, unavailable
from sms.database import close_if_unavailable


class Refusals:
    """Middleware that refuses invalid requests for pages.

    The API refuses requests itself, because the order of its checks is part of its contract.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not _is_api(request):
            # PostgreSQL cannot store NUL characters.
            if any("\0" in text for text in _given(request)):
                return page(request, 400, gettext("The address contains a character that is not allowed."))
            if has_unknown_length(request):
                return page(request, 411, gettext("Please send this again with its length."))
            if body_length(request) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
                return page(request, 413, gettext("That is too much to send at once."))
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return _without_database(request, error) if close_if_unavailable(error) else None


def on_error(request: HttpRequest) -> HttpResponse:
    """Respond as Django's `handler500` to errors outside the views, such as an error while reading the session."""
    error = sys.exc_info()[1]
    if error is not None and close_if_unavailable(error):
        return _without_database(request, error)
    return server_error(request)


def _without_database(request: HttpRequest, error: BaseException) -> HttpResponse:
    if _is_api(request):
        return unavailable(request, error)
    log_unavailable(request, error)
    answer = page(
        request, 503, gettext("We cannot reach our records at the moment. Please try again in a few seconds.")
    )
    answer["Retry-After"] = str(RETRY_SECONDS)
    return answer


def page(request: HttpRequest, status: int, message: str) -> HttpResponse:
    """Render one sentence as a page of the site."""
    return render(request, "game/sorry.html", {"message": message}, status=status)


def _is_api(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/")


def _given(request: HttpRequest) -> Iterator[str]:
    """Yield every string in the query parameters and the cookie values.

    A cookie can contain NUL as an escape sequence.
    """
    for name, values in request.GET.lists():
        yield from (name, *values)
    yield from request.COOKIES.values()
