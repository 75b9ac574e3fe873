"""The JSON API: the routers put together, how a body is read, and how an error is answered."""

import json
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.parser import Parser

from game.api import router as game_router
from game.errors import Refused
from payments.api import has_proof
from payments.api import router as payments_router
from playmatatu.health import router as health_router

Handler = Callable[[HttpRequest], HttpResponse]


def error(status: int, message: str, fields: dict[str, str] | None = None, **headers: str) -> JsonResponse:
    return JsonResponse({"error": message, "fields": fields or {}}, status=status, headers=headers)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class JsonParser(Parser):
    """A JSON object, or one clear sentence."""

    def parse_body(self, request: HttpRequest) -> Any:
        try:
            # NaN and Infinity are Python's, not JSON's.
            body = json.loads(request.body, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise HttpError(400, "The body is not valid JSON.") from None
        if not isinstance(body, dict):
            raise HttpError(400, "The body must be a JSON object.")
        return body


api = NinjaAPI(
    title="PlayMatatu",
    version="1",
    description="Stakes, matches and payment callbacks. Amounts are whole UGX, times ISO 8601.",
    parser=JsonParser(),
    docs_url="/docs",
    openapi_url="/openapi.json",
)
api.add_router("/v1", game_router)
api.add_router("/v1", payments_router)
api.add_router("/v1", health_router)


@api.exception_handler(Refused)
def refused(request: HttpRequest, exc: Refused) -> HttpResponse:
    headers = {"Retry-After": str(exc.retry_after)} if exc.retry_after is not None else {}
    return error(exc.status, exc.message, {exc.field: exc.message} if exc.field else {}, **headers)


@api.exception_handler(HttpError)
def http_error(request: HttpRequest, exc: HttpError) -> HttpResponse:
    return error(exc.status_code, str(exc))


@api.exception_handler(Http404)
def not_found_error(request: HttpRequest, exc: Http404) -> HttpResponse:
    return error(404, "There is nothing at this address.")


@api.exception_handler(ValidationError)
def invalid(request: HttpRequest, exc: ValidationError) -> HttpResponse:
    fields: dict[str, str] = {}
    for item in exc.errors:
        name = str(item["loc"][-1]) if item["loc"] else "body"
        fields.setdefault(name, _sentence(name, item))
    return error(400, next(iter(fields.values()), "The request is not valid."), fields)


def _sentence(name: str, item: dict[str, Any]) -> str:
    if item["type"] == "missing":
        return f"{name} is required."
    message = str(item["msg"]).removeprefix("Value error, ")
    return message if item["type"] == "value_error" else f"{name}: {message}."


def unknown(request: HttpRequest) -> HttpResponse:
    """Any other path under /api/."""
    return error(404, "There is nothing at this address.")


class ApiMiddleware:
    """For /api/: what is refused before a body is read, in one order, and every error as JSON."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if not request.path.startswith("/api/"):
            return response
        if response.status_code == 405:
            allowed = response.headers.get("Allow", "")
            return error(405, f"This address takes {allowed or 'other methods'} only.", Allow=allowed)
        if response.status_code in (400, 413) and not response.headers["Content-Type"].startswith("application/json"):
            return error(response.status_code, "The request is not valid.")
        return response

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        if request.method != "POST" or not request.path.startswith("/api/v1/") or view is unknown:
            return None
        match = request.resolver_match
        methods = getattr(match and match.func, "__self__", None)
        if methods is not None and not any("POST" in op.methods for op in methods.operations):
            return None  # 405 is the better answer
        if _length(request) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            return error(413, "The body is too large: at most 64 KiB.")
        if request.content_type != "application/json":
            return error(415, "Send JSON: Content-Type must be application/json.")
        if request.path == "/api/v1/momo/callback" and not has_proof(request):
            return error(403, "The callback has no valid proof: X-Callback-Secret or X-Callback-Signature.")
        return None


def _length(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0
