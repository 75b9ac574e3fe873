"""One POST over libcurl: what is set for it, and what is read off it when it has ended.

Left alone, libcurl sends a POST again by itself when a kept connection dies unanswered, and reports success. It cannot
where the body comes from a function and nothing can wind it back: then it fails, once, and the conversation decides.
"""

import time
from collections.abc import Callable
from io import BytesIO

import certifi
import pycurl

# Since 7.48: named here, so that an older one is refused at the start and not at the first answer.
from pycurl import RETRY_AFTER

from sms.dmark import responses
from sms.dmark.blocking import HEADERS
from sms.dmark.conversation import NoResponse, Request
from sms.dmark.responses import Reply

# A connection idle for longer is not used again: some servers close theirs after five seconds, and a request that
# meets one that is being closed is in doubt.
_MAX_IDLE = 4
_HEADERS = [*(f"{name}: {value}" for name, value in HEADERS.items()), "Expect:"]
# Over the longest body: an answer all the same, and none of DMark's.
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
    """A handle of libcurl's, used for one request after another. It belongs to the thread that made it.

    `written` is told at the moment when the request goes out over a connection that stands.
    """

    def __init__(self, connect_timeout: float, read_timeout: float, written: "Callable[[Transfer], None]") -> None:
        self._written = written
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
        # The loop watches what is written and not answered; this one is for what hangs before.
        curl.setopt(pycurl.TIMEOUT_MS, max(1, round((connect_timeout + read_timeout + 1) * 1000)))
        curl.setopt(pycurl.POST, 1)
        curl.setopt(pycurl.HTTPHEADER, _HEADERS)
        curl.setopt(pycurl.READFUNCTION, self._read)

    def prepare(self, request: Request) -> None:
        """Make ready for this request; it begins when the handle is given to the multi handle."""
        curl = self.curl
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
        self.started = time.monotonic()

    def reply(self) -> Reply:
        """The answer, whole or as much of it as is read of any."""
        status, retry_after = self.curl.getinfo(pycurl.RESPONSE_CODE), self.curl.getinfo(RETRY_AFTER)
        return responses.read(status, self._answer.getvalue(), float(retry_after) if retry_after else None, self._ms())

    def no_response(self, code: int) -> NoResponse:
        """Why there is no whole answer. What was written decides what DMark may have."""
        written = self.curl.getinfo(pycurl.REQUEST_SIZE) > 0
        timed_out = code == pycurl.E_OPERATION_TIMEDOUT
        cause = _CAUSES.get(code, f"libcurl's error {code}")
        return NoResponse(cause, request_written=written, timed_out=timed_out, ms=self._ms())

    def _ms(self) -> int:
        return round((time.monotonic() - self.started) * 1000)

    def answered(self, code: int) -> bool:
        return code in _ANSWERED and self.curl.getinfo(pycurl.RESPONSE_CODE) > 0

    def _read(self, size: int) -> bytes:
        if not self._offset:
            self._written(self)
        part = self._payload[self._offset : self._offset + size]
        self._offset += len(part)
        return part
