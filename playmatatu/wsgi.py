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

# Equals DATA_UPLOAD_MAX_MEMORY_SIZE. A longer body is refused with 413, like a body whose Content-Length is too large.
_LONGEST = 64 * 1024
# At most this many bytes of a body that is too long are read. A client whose body is not read to the end would see a
# broken connection instead of the response.
_READ_AND_DROPPED = 8 * 1024 * 1024


def read_chunks(application: "WSGIApplication") -> "WSGIApplication":
    """Wrap the application to read chunked request bodies and set their CONTENT_LENGTH.

    Without a Content-Length, Django treats a body as empty. A chunked body can be read only if the server marks the end
    of the input and sets `wsgi.input_terminated`. gunicorn does so, and runserver does not.
    """

    def with_length(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if "HTTP_TRANSFER_ENCODING" in environ and environ.get("wsgi.input_terminated"):
            # If the chunks cannot be read, the length stays unknown and the request is refused with 411.
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
