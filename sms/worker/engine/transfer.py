"""One POST request over libcurl: set its options and read its result.

By default, libcurl resends a POST if DMark has closed the idle connection. Here, a function supplies the body only
once, so that libcurl reports the failure.
"""

from collections.abc import Callable
from io import BytesIO

import certifi
import pycurl

# RETRY_AFTER is new in pycurl 7.48. This import makes an older version fail at startup and not at the first response.
from pycurl import RETRY_AFTER

from sms import clock
from sms.dmark import responses
from sms.dmark.blocking import HEADERS
from sms.dmark.conversation import NoResponse, Request
from sms.dmark.responses import Reply

# Seconds for which an idle connection may be reused. Some servers close idle connections after five seconds.
_MAX_IDLE = 4
_HEADERS = [*(f"{name}: {value}" for name, value in HEADERS.items()), "Expect:"]
# Result codes of libcurl for a complete response. A response longer than MAX_BODY counts as complete.
_ANSWERED = (0, pycurl.E_FILESIZE_EXCEEDED)
_CAUSES = {
    0: "the answer was cut short",
    pycurl.E_COULDNT_RESOLVE_HOST: "the name is not known",
    pycurl.E_COULDNT_CONNECT: "no connection",
    pycurl.E_PARTIAL_FILE: "the answer was cut short",
    pycurl.E_OPERATION_TIMEDOUT: "time-out",
    pycurl.E_GOT_NOTHING: "closed without an answer",
    pycurl.E_SEND_ERROR: "the connection was lost while it was written",
    pycurl.E_RECV_ERROR: "the connection was reset",
    pycurl.E_SEND_FAIL_REWIND: "a kept connection was lost",
    pycurl.E_SSL_CONNECT_ERROR: "no TLS",
    pycurl.E_SSL_CACERT: "its certificate is not trusted",
    pycurl.E_SSL_CACERT_BADFILE: "the trusted certificates cannot be read",
}


class Transfer:
    """A libcurl easy handle. One thread uses it for one request at a time.

    `may_write`: if it returns False, the transfer ends with E_ABORTED_BY_CALLBACK before its body is written.
    """

    def __init__(self, connect_timeout: float, read_timeout: float, may_write: "Callable[[Transfer], bool]") -> None:
        self._may_write = may_write
        self.step = ""
        self._payload, self._offset, self._token, self._url = b"", 0, "", ""
        self._answer = BytesIO()
        self.started = 0.0
        self.curl = curl = pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.FOLLOWLOCATION, 0)
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.NOPROXY, "*")
        curl.setopt(pycurl.CAINFO, certifi.where())
        curl.setopt(pycurl.MAXFILESIZE, responses.MAX_BODY)
        curl.setopt(pycurl.MAXAGE_CONN, _MAX_IDLE)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, round(connect_timeout * 1000)))
        # A fallback timeout. The engine itself cuts off a request that gets no response within `read_timeout`.
        curl.setopt(pycurl.TIMEOUT_MS, max(1, round((connect_timeout + read_timeout + 1) * 1000)))
        curl.setopt(pycurl.POST, 1)
        curl.setopt(pycurl.HTTPHEADER, _HEADERS)
        curl.setopt(pycurl.READFUNCTION, self._read)

    def prepare(self, request: Request, *, fresh_connection: bool) -> None:
        """Set the options for this request. The request begins when the handle is added to libcurl's multi handle."""
        curl = self.curl
        self.step = request.step
        curl.setopt(pycurl.FRESH_CONNECT, int(fresh_connection))
        if request.url != self._url:
            curl.setopt(pycurl.URL, request.url)
            self._url = request.url
        if request.token != self._token:
            curl.setopt(pycurl.HTTPHEADER, [*_HEADERS, f"authToken: {request.token}"] if request.token else _HEADERS)
            self._token = request.token
        self._payload, self._offset = request.payload, 0
        curl.setopt(pycurl.POSTFIELDSIZE, len(request.payload))
        self._answer = BytesIO()
        curl.setopt(pycurl.WRITEDATA, self._answer)
        self.started = clock.monotonic()

    def event(self, code: int) -> Reply | NoResponse:
        """Return the response, or a NoResponse with the reason why it is missing. `code`: libcurl's result code."""
        info, ms = self.curl.getinfo, round((clock.monotonic() - self.started) * 1000)
        if code in _ANSWERED and (status := info(pycurl.RESPONSE_CODE)):
            return responses.read(status, self._answer.getvalue(), float(info(RETRY_AFTER)) or None, ms)
        cause = _CAUSES.get(code, f"libcurl's error {code}")
        # REQUEST_SIZE is above 0 if part of the request was written. The result code does not show that.
        written, timed_out = info(pycurl.REQUEST_SIZE) > 0, code == pycurl.E_OPERATION_TIMEDOUT
        return NoResponse(cause, request_written=written, timed_out=timed_out, ms=ms)

    def lost_kept_connection(self, code: int) -> bool:
        """Return True if this failed request reused an idle connection and did not time out."""
        return code != pycurl.E_OPERATION_TIMEDOUT and not self.curl.getinfo(pycurl.NUM_CONNECTS)

    def _read(self, size: int) -> bytes | int:
        if not self._offset and not self._may_write(self):
            return pycurl.READFUNC_ABORT
        part = self._payload[self._offset : self._offset + size]
        self._offset += len(part)
        return part
