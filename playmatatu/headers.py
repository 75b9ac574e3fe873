"""What a browser may do with our pages, and how it comes to https."""

from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect

# No inline script, no other host. The admin's own pages need styles set by their scripts.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
ADMIN_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
DOCS_POLICY = ADMIN_POLICY.replace("script-src 'self'", "script-src 'self' 'unsafe-inline'")
# The game's script shares and copies a code; nothing needs more of a phone.
PERMISSIONS = (
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), "
    "midi=(), payment=(), usb=()"
)
# Query parameters that let whoever reads them act as a player.
_CREDENTIALS = ("pt", "queue_token")


class Https:
    """Middleware before Django's own: its redirect to https repeats no player's credential that came in plain text.

    Such a link shows the match without names: whoever got it by SMS has the https one.
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
    """Middleware: a Content-Security-Policy on every answer that brings none; and no error is kept by a cache."""

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
