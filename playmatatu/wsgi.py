"""The WSGI entry point: `gunicorn playmatatu.wsgi`."""

import os
from collections.abc import Iterable
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from playmatatu.postgres import limit_waits

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "playmatatu.settings")

# A body that is too long is read up to this number of bytes, so that the client does not see a broken connection.
_READ_AND_DROPPED = 8 * 1024 * 1024


def read_chunks(application: "WSGIApplication") -> "WSGIApplication":
    """Wrap the application to read chunked bodies and set CONTENT_LENGTH, without which Django sees an empty body."""

    def with_length(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if "HTTP_TRANSFER_ENCODING" in environ and environ.get("wsgi.input_terminated"):
            longest: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE  # In bytes. A longer body is refused with 413.
            # If the chunked body cannot be read, no length is set, and the request is refused with 411.
            with suppress(Exception):
                body = environ["wsgi.input"].read(longest + 1)
                dropped = len(body)
                while longest < dropped < _READ_AND_DROPPED and (chunk := environ["wsgi.input"].read(longest)):
                    dropped += len(chunk)
                environ["wsgi.input"], environ["CONTENT_LENGTH"] = BytesIO(body), str(len(body))
        return application(environ, start_response)

    return with_length


limit_waits()
application = read_chunks(get_wsgi_application())
