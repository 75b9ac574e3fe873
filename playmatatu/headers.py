"""Response headers that restrict what a browser does with our pages, and the redirect to https."""

from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect

# No inline script and no other host. The scripts of Django's admin set inline styles.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
ADMIN_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
DOCS_POLICY = ADMIN_POLICY.replace("script-src 'self'", "script-src 'self' 'unsafe-inline'")
# The game's script shares and copies a code. Nothing needs other features of a phone.
PERMISSIONS = (
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), "
    "midi=(), payment=(), usb=()"
)
# Query parameters with which anyone can act as the player.
_CREDENTIALS = ("pt", "queue_token")


class Https:
    """Middleware before Django's: remove players' credentials, which came unencrypted, from its redirect to https.

    The link then shows the match without names. The link in the SMS is an https link and keeps working.
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
    """Middleware: add a Content-Security-Policy to every response without one, and let no cache store an error."""

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
