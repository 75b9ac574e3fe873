"""The JSON API: routers, parser for request bodies, and error responses."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from django.conf import settings
from django.db import Error as AnyDatabaseError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.parser import Parser

from game.api.routes import router as game_router
from game.rules.validation import Refused
from payments.webhooks import router as payments_router
from playmatatu.health import router as health_router
from sms.database import close_if_unavailable

logger = logging.getLogger("playmatatu.api")
# Seconds after which a client should retry if the database is unavailable.
RETRY_SECONDS = 5
Handler = Callable[[HttpRequest], HttpResponse]


def error(status: int, message: str, fields: dict[str, str] | None = None, **headers: str) -> JsonResponse:
    return JsonResponse({"error": message, "fields": fields or {}}, status=status, headers=headers)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# Control characters and lone surrogates. URLs may contain none of them. JSON bodies may contain tabs and line breaks.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROL_IN_BODY = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def _texts(value: Any) -> Iterator[str]:
    """Yield every string in a JSON value, including nested values and the keys of objects."""
    values = [value]
    while values:
        value = values.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            values += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            values += value


class JsonParser(Parser):
    """Parser for JSON objects. Refuses (400) other bodies, and control characters other than tabs and line breaks."""

    def parse_body(self, request: HttpRequest) -> Any:
        try:
            # Python's parser accepts NaN and Infinity by default, but they are not valid JSON.
            body = json.loads(request.body, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise Refused(400, "The body is not valid JSON.") from None
        if not isinstance(body, dict):
            raise Refused(400, "The body must be a JSON object.")
        for name, value in body.items():
            if any(_CONTROL_IN_BODY.search(text) for text in _texts([name, value])):
                field = "" if _CONTROL_IN_BODY.search(name) else name
                raise Refused(400, f"{field or 'The body'} must not hold control characters.", field)
        return body


api = NinjaAPI(
    title="PlayMatatu",
    version="1",
    description="Stakes, matches and payment callbacks. Amounts are whole UGX, times ISO 8601.",
    parser=JsonParser(),
    docs_url="/docs",
    docs_decorator=require_safe,
    openapi_url="/openapi.json",
)


def checked(run: Handler) -> Handler:
    """Wrap an API operation so that invalid requests are refused before the body is read."""

    @wraps(run)
    def checked_run(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method == "POST":
            if has_unknown_length(request):
                return error(411, "Send the body with a Content-Length, not in chunks.")
            if body_length(request) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
                return error(413, "The body is too large: at most 64 KiB.")
            if request.content_type != "application/json":
                return error(415, "Send JSON: Content-Type must be application/json.")
        address = [request.path_info, *(part for item in request.GET.lists() for part in (item[0], *item[1]))]
        if any(_CONTROL.search(part) for part in address):
            return error(400, "The address must not hold control characters.")
        return run(request, *args, **kwargs)

    return checked_run


def has_unknown_length(request: HttpRequest) -> bool:
    """Return True if the body is sent in chunks without a length. Django would treat such a body as empty."""
    return "Transfer-Encoding" in request.headers and not request.META.get("CONTENT_LENGTH")


def body_length(request: HttpRequest) -> int:
    try:
        return int(request.headers.get("content-length") or 0)
    except ValueError:
        return 0


api.add_decorator(checked, mode="view")
api.add_router("/v1", game_router)
api.add_router("/v1", payments_router)
api.add_router("/v1", health_router)


@api.exception_handler(Refused)
def refused(request: HttpRequest, exc: Refused) -> HttpResponse:
    headers = {"Retry-After": str(exc.retry_after)} if exc.retry_after is not None else {}
    return error(exc.status, exc.message, {exc.field: exc.message} if exc.field else {}, **headers)


@api.exception_handler(HttpError)
def http_error(request: HttpRequest, exc: HttpError) -> HttpResponse:
    # Ninja wraps an exception of the parser in its own HttpError.
    if isinstance(exc.__cause__, Refused):
        return refused(request, exc.__cause__)
    return error(exc.status_code, str(exc))


@api.exception_handler(AnyDatabaseError)
def database_error(request: HttpRequest, exc: AnyDatabaseError) -> HttpResponse:
    """Respond 503 if the database is unavailable. Any other database error is a bug and gets a 500 from Django."""
    if not close_if_unavailable(exc):
        raise exc
    return unavailable(request, exc)


def unavailable(request: HttpRequest, exc: BaseException) -> HttpResponse:
    log_unavailable(request, exc)
    answer = error(503, _SENTENCES[503])
    answer["Retry-After"] = str(RETRY_SECONDS)
    return answer


def log_unavailable(request: HttpRequest, exc: BaseException) -> None:
    """Log one line without a traceback, because every request logs this line during an outage."""
    reason = next(iter(str(exc).splitlines()), "")
    logger.error(
        "playmatatu.no_database: %s %s was answered 503 (%s: %s)",
        request.method,
        request.path,
        type(exc).__name__,
        reason,
        extra={"event": "playmatatu.no_database"},
    )


@api.exception_handler(ValidationError)
def invalid(request: HttpRequest, exc: ValidationError) -> HttpResponse:
    fields: dict[str, str] = {}
    for item in exc.errors:
        name = str(item["loc"][-1]) if item["loc"] else "body"
        fields.setdefault(name, _sentence(name, item))
    return error(400, next(iter(fields.values()), "The request is not valid."), fields)


def _sentence(name: str, item: dict[str, Any]) -> str:
    if item["type"] == "missing" or (item["type"] == "string_too_short" and not item.get("input")):
        return f"{name} is required."
    message = str(item["msg"]).removeprefix("Value error, ")
    return message if item["type"] == "value_error" else f"{name}: {message}."


@api.exception_handler(Http404)
@csrf_exempt
def unknown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """Respond 404 to a request for an unknown path under /api/, or if the API raises Http404."""
    return error(404, "There is nothing at this address.")


class ApiMiddleware:
    """Middleware for /api/: make every error response JSON, and forbid caches from storing responses.

    Some responses contain a credential, such as a player's token.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if not request.path_info.startswith("/api/"):
            return response
        status = response.status_code
        if status == 405:
            allowed = response.headers.get("Allow", "")
            response = error(405, f"This address takes {allowed or 'other methods'} only.", Allow=allowed)
        elif status >= 400 and not response.headers.get("Content-Type", "").startswith("application/json"):
            response = error(status, _SENTENCES.get(status, "The request is not valid."))
        if status >= 400:
            _drain(request)
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def _drain(request: HttpRequest) -> None:
    """Read up to _DRAIN_BYTES of a refused request's body, so that the client can reuse the connection."""
    left = _DRAIN_BYTES
    try:
        while left > 0 and (chunk := request.read(65536)):
            left -= len(chunk)
    except UnreadablePostError:
        logger.info(
            "playmatatu.hung_up: the caller closed the connection during its request",
            extra={"event": "playmatatu.hung_up"},
        )


_DRAIN_BYTES = 8 * 1024 * 1024
_SENTENCES = {
    404: "There is nothing at this address.",
    503: "The database is out of reach for the moment; try again in a few seconds.",
    500: "Something went wrong on our side; try again in a moment.",
}
