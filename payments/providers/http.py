"""Make one HTTP request to a mobile money provider, with libcurl.

The timeout of libcurl covers the whole exchange. After a failure, libcurl shows if the request was written. If it was
written, repeating it could move money twice.
"""

import json as json_module
import os
import threading
from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import certifi
import pycurl

MAX_BODY = 64 * 1024

# Longest idle time of a reused connection, in seconds. The server may be closing a connection that was idle for longer.
_MAX_IDLE = 4
_HEADERS = {"Accept": "application/json", "User-Agent": "playmatatu-payments"}
_CAUSES = {
    pycurl.E_COULDNT_RESOLVE_HOST: "unknown host name",
    pycurl.E_COULDNT_CONNECT: "no connection",
    pycurl.E_OPERATION_TIMEDOUT: "timeout",
    pycurl.E_PARTIAL_FILE: "response cut short",
    pycurl.E_GOT_NOTHING: "connection closed without a response",
    pycurl.E_SEND_ERROR: "connection lost while sending",
    pycurl.E_RECV_ERROR: "connection reset",
    pycurl.E_FILESIZE_EXCEEDED: "response too large",
    pycurl.E_SSL_CONNECT_ERROR: "TLS failed",
    pycurl.E_SSL_CACERT: "certificate not trusted",
    pycurl.E_SSL_CACERT_BADFILE: "trusted certificates unreadable",
}
_local = threading.local()


class NoResponse(Exception):
    """No complete response arrived.

    If `request_written` is False, the provider cannot have received the request.
    """

    def __init__(self, sentence: str, *, request_written: bool) -> None:
        self.request_written = request_written
        super().__init__(sentence)


def get(who: str, url: str, timeouts: tuple[float, float], headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Make a GET request, which may reuse an open connection. Return the HTTP status and the body.

    `who`: the provider's name for error messages. `timeouts`: seconds for connecting, and for the whole exchange.
    Raises NoResponse.
    """
    return _perform(who, _prepared(url, timeouts, headers))


def post(
    who: str,
    url: str,
    timeouts: tuple[float, float],
    headers: Mapping[str, str],
    *,
    json: Any = None,
    form: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Make one POST request. Return the HTTP status and the body.

    The connection is new, because a server can close an old connection without reading the request. `json` or `form`:
    the body. Raises NoResponse.
    """
    if form is None:
        body, content_type = json_module.dumps(json).encode(), "application/json"
    else:
        body, content_type = urlencode(form).encode(), "application/x-www-form-urlencoded"
    curl = _prepared(url, timeouts, {**headers, "Content-Type": content_type, "Expect": ""})
    curl.setopt(pycurl.POST, 1)
    # libcurl repeats a POST by itself if it can rewind the body. Without a seek function, it cannot rewind the body.
    curl.setopt(pycurl.POSTFIELDSIZE, len(body))
    curl.setopt(pycurl.READFUNCTION, BytesIO(body).read)
    curl.setopt(pycurl.FRESH_CONNECT, 1)
    curl.setopt(pycurl.FORBID_REUSE, 1)
    return _perform(who, curl)


def _prepared(url: str, timeouts: tuple[float, float], headers: Mapping[str, str]) -> pycurl.Curl:
    """Return this thread's curl handle with the common options set.

    Open connections, TLS sessions and parsed certificates are kept from earlier requests.
    """
    if getattr(_local, "pid", None) != os.getpid():  # A forked process must not share its parent's sockets.
        _local.curl, _local.pid = pycurl.Curl(), os.getpid()
    curl: pycurl.Curl = _local.curl
    connect, total = timeouts
    curl.reset()
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    curl.setopt(pycurl.FOLLOWLOCATION, 0)
    curl.setopt(pycurl.PROXY, "")
    curl.setopt(pycurl.NOPROXY, "*")
    curl.setopt(pycurl.CAINFO, certifi.where())
    curl.setopt(pycurl.MAXFILESIZE, MAX_BODY)
    curl.setopt(pycurl.MAXAGE_CONN, _MAX_IDLE)
    curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, round(connect * 1000)))
    curl.setopt(pycurl.TIMEOUT_MS, max(1, round(total * 1000)))
    curl.setopt(pycurl.URL, url.encode())
    sent = {**_HEADERS, **headers}
    curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" if value else f"{name}:" for name, value in sent.items()])
    return curl


def _perform(who: str, curl: pycurl.Curl) -> tuple[int, bytes]:
    body = BytesIO()
    curl.setopt(pycurl.WRITEDATA, body)
    try:
        curl.perform()
        if status := int(curl.getinfo(pycurl.RESPONSE_CODE)):
            return status, body.getvalue()
        code = pycurl.E_GOT_NOTHING
    except pycurl.error as error:
        code = int(error.args[0])
    cause = _CAUSES.get(code, f"libcurl error {code}")
    if curl.getinfo(pycurl.REQUEST_SIZE) > 0:
        raise NoResponse(f"{who} sent no complete response ({cause}).", request_written=True)
    raise NoResponse(f"{who} cannot be reached ({cause}).", request_written=False)
