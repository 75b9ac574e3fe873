"""Middleware for response headers, the redirect to https, invalid requests, and an unavailable database."""

import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from django.conf import settings
from django.contrib.messages.middleware import MessageMiddleware
from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django.utils.deprecation import MiddlewareMixin
from django.utils.translation import gettext_noop as _
from django.views.defaults import server_error

from game.pages.live import sorry
from playmatatu.api import RETRY_SECONDS, body_length, has_unknown_length, log_unavailable, unavailable
from sms.database import close_if_unavailable

# This policy forbids inline code and content from other hosts. The admin needs inline styles, because its scripts set
# them.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
ADMIN_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
DOCS_POLICY = ADMIN_POLICY.replace("script-src 'self'", "script-src 'self' 'unsafe-inline'")
# Browser features that no page needs.
PERMISSIONS = (
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), "
    "midi=(), payment=(), usb=()"
)
# Query parameters that are credentials. Anyone who has such a value can act as the player.
_CREDENTIALS = ("pt", "queue_token")


class Https:
    """Middleware: remove players' credentials from the URL of the redirect to https.

    Such a credential was sent unencrypted, so it must not be used.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = self.get_response(request)
        if isinstance(answer, HttpResponsePermanentRedirect) and not request.is_secure():
            parts = urlsplit(answer.url)
            query = parse_qsl(parts.query, keep_blank_values=True)
            kept = [(name, value) for name, value in query if name not in _CREDENTIALS]
            if len(kept) < len(query):
                answer.headers["Location"] = urlunsplit(parts._replace(query=urlencode(kept)))
        return answer


class PageHeaders:
    """Middleware: add Content-Security-Policy and Permissions-Policy headers, and forbid caches from storing errors.

    Headers that a view has set are kept.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        policy = POLICY
        if request.path.startswith("/admin/"):
            policy = ADMIN_POLICY
        elif request.path == "/api/docs":
            policy = DOCS_POLICY
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        if response.status_code >= 400:
            response.headers.setdefault("Cache-Control", "no-store")
        return response


class Refusals:
    """Middleware: refuse invalid requests for pages.

    The API has its own checks, because the order of the checks is part of the API's contract.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not _is_api(request):
            # PostgreSQL cannot store NUL characters, so they are refused.
            if any("\0" in text for text in _given(request)):
                return _refused(request, 400, _("The address contains a character that is not allowed."))
            if has_unknown_length(request):
                return _refused(request, 411, _("Please send this again with its length."))
            if body_length(request) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
                return _refused(request, 413, _("That is too much to send at once."))
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return _without_database(request, error) if close_if_unavailable(error) else None


def _refused(request: HttpRequest, status: int, sentence: str) -> HttpResponse:
    # The language must be set here: Django's language middleware has not run yet, and the thread may still have the
    # language of an earlier page.
    translation.activate(translation.get_language_from_request(request))
    return sorry(request, status, sentence)


def on_error(request: HttpRequest) -> HttpResponse:
    """Respond to an unhandled exception (`handler500`): 503 if the database is unavailable, otherwise 500."""
    error = sys.exc_info()[1]
    if error is not None and close_if_unavailable(error):
        return _without_database(request, error)
    return server_error(request)


def _without_database(request: HttpRequest, error: BaseException) -> HttpResponse:
    if _is_api(request):
        return unavailable(request, error)
    log_unavailable(request, error)
    answer = sorry(request, 503, _("We cannot reach our records at the moment. Please try again in a few seconds."))
    answer["Retry-After"] = str(RETRY_SECONDS)
    return answer


def _is_api(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/")


def _given(request: HttpRequest) -> Iterator[str]:
    """Yield all strings in the query parameters and cookie values.

    A cookie can contain NUL as an escape sequence.
    """
    for name, values in request.GET.lists():
        yield from (name, *values)
    yield from request.COOKIES.values()


class _PagesOnly(MiddlewareMixin):
    """Base class for a middleware of Django that is skipped for paths under /api/ and /sms/, to save CPU."""

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith(("/api/", "/sms/")):
            return self.get_response(request)
        return super().__call__(request)


class Languages(_PagesOnly, LocaleMiddleware):
    def __call__(self, request: HttpRequest) -> Any:
        # The thread may still have the language of an earlier page, and the API must not use that language.
        translation.deactivate()
        return super().__call__(request)


class Messages(_PagesOnly, MessageMiddleware):
    pass
