"""The WSGI entry point: `gunicorn playmatatu.wsgi`."""

import os
from collections.abc import Iterable
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING

from django.core.wsgi import get_wsgi_application

from playmatatu.postgres import limit_waits

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "playmatatu.settings")

# DATA_UPLOAD_MAX_MEMORY_SIZE. A longer body is answered 413 by its length, as one with a Content-Length is.
_LONGEST = 64 * 1024
# A client that is refused before it has sent its body sees a broken connection. So this much of it is read.
_READ_AND_DROPPED = 8 * 1024 * 1024


def read_chunks(application: "WSGIApplication") -> "WSGIApplication":
    """Give Django the body of a request that comes in chunks. Without a Content-Length, Django reads it as empty.

    Servers that end the input themselves say so with `wsgi.input_terminated`: gunicorn does, runserver does not.
    """

    def with_length(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if "HTTP_TRANSFER_ENCODING" in environ and environ.get("wsgi.input_terminated"):
            # Chunks that cannot be read leave the length unknown, and the request is answered 411.
            with suppress(Exception):
                body = environ["wsgi.input"].read(_LONGEST + 1)
                dropped = len(body)
                while _LONGEST < dropped < _READ_AND_DROPPED and (chunk := environ["wsgi.input"].read(_LONGEST)):
                    dropped += len(chunk)
                environ["wsgi.input"], environ["CONTENT_LENGTH"] = BytesIO(body), str(len(body))
        return application(environ, start_response)

    return with_length


limit_waits()
application = read_chunks(get_wsgi_application())
