"""Read the body of a provider's request: a form or JSON, even if it is sent in chunks without a Content-Length."""

import json
from io import BytesIO
from typing import Any

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.http.request import RawPostDataException

MAX_BODY = 64 * 1024


class Refused(Exception):
    """The body of a request is not accepted. `status`: the HTTP status for the response."""

    def __init__(self, status: int, error: str) -> None:
        self.status = status
        super().__init__(error)


def read(request: HttpRequest) -> dict[str, Any] | list[Any]:
    """Return the JSON in the body, whatever its content type, or else the fields of a form. Raises Refused."""
    body = _read(request)
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        values = None
    return values if isinstance(values, dict | list) else dict(request.POST.items())


def _read(request: HttpRequest) -> bytes:
    """Return the body of the request, and keep `request.POST` usable. Raises Refused if the body cannot be read.

    Django would see a chunked body as empty, because it has no Content-Length. A WSGI server that decodes chunks sets
    `wsgi.input_terminated`.
    """
    if isinstance(request, WSGIRequest) and "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        if not request.environ.get("wsgi.input_terminated"):
            raise Refused(411, "The request needs a Content-Length.")
        body = request.environ["wsgi.input"].read(MAX_BODY + 1)
        request._stream = BytesIO(body)
        request.META["CONTENT_LENGTH"] = str(len(body))
    if _length(request) > MAX_BODY:
        raise Refused(413, "The body is over 64 KiB.")
    try:
        body = request.body
        request.POST  # noqa: B018 - parses a form, and raises if it cannot be parsed
    except RawPostDataException:  # A middleware has already read the body as a form.
        return b""
    except (MultiPartParserError, SuspiciousOperation, BadRequest, OSError):
        raise Refused(400, "The body cannot be read.") from None
    if len(body) > MAX_BODY:
        raise Refused(413, "The body is over 64 KiB.")
    return body


def _length(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0
