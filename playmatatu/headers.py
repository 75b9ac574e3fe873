"""Response headers that restrict what a browser does with our pages, and the redirect to https."""

from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect

# The default policy allows no inline scripts or styles and no other host. The admin's policy also allows inline styles,
# because the admin's scripts set them.
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
# Query parameters that are credentials: anyone who has one can act as the player.
_CREDENTIALS = ("pt", "queue_token")


class Https:
    """Middleware: remove players' credentials from the redirect to https by Django's SecurityMiddleware.

    The credentials arrived unencrypted, so they must not be used. The redirect then leads to a page of the match
    without the players' names. The link in the SMS uses https and keeps its credential.
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
    """Middleware: add Content-Security-Policy and Permissions-Policy headers, and tell caches not to store errors.

    Headers that a view has already set are kept.
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
