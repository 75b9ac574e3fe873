"""A fake provider, and fakes of the two pycurl classes that the engine uses.

Not simulated: DNS, TLS and partial writes. `test_fake_network.py` compares the fakes with libcurl.
"""

import json
import re
import selectors
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import pycurl

from sms.conf import Config
from sms.dmark import responses
from sms.dmark.conversation import NoResponse, Request
from tests.simulation.runtime import Descriptors
from tests.simulation.scheduler import Process, Scheduler

ANSWERED, RESET, CLOSED, CUT, SILENT = "answered", "reset", "closed", "cut", "silent"
_CODES = {RESET: pycurl.E_RECV_ERROR, CLOSED: pycurl.E_GOT_NOTHING, CUT: pycurl.E_PARTIAL_FILE}
TEXT = re.compile(r"message (\d+)")


class Plan(NamedTuple):
    """The provider's response to a request. `kind`: how the request ends, after `delay` seconds."""

    delay: float
    kind: str = ANSWERED
    status: int = 200
    body: bytes = b"{}"


class Sent:
    """A send request that the provider received.

    `answered`: a running process has read the whole response.
    """

    def __init__(self, at: float, process: Process, number: int) -> None:
        self.at, self.process, self.number = at, process, number
        self.accepted = self.answered = False
        self.status = 0
        self.answered_at = 0.0


class Provider:
    """The fake DMark.

    `behave`: takes the number of a message, and returns the response and if the message is accepted.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.sent: list[Sent] = []
        self.by_number: defaultdict[int, list[Sent]] = defaultdict(list)
        self.token, self.tokens = "token-0", 0
        self.behave: Callable[[int], tuple[Plan, bool]] = lambda number: (Plan(0.05), True)
        self.behave_token: Callable[[], Plan] = lambda: Plan(0.05)
        self.refuses_connections = self.drops_connections = False
        self.loses_kept_connections = 0.0
        self.dropped = False
        self.on_written: Callable[[Process, int], None] = lambda process, number: None
        self.note_accepted: Callable[[int], None] = lambda number: None
        self.on_accepted: Callable[[int], None] = lambda number: None
        self.on_polled: Callable[[Process, str], None] = lambda process, provider_id: None
        # The status words in polled reports. `words`: by DMark's id. `word`: for all other ids.
        self.word, self.words, self.report_seconds = "PENDING", dict[str, str](), 0.05
        self.requests: Counter[str] = Counter()
        # The times at which each process lost a request on a kept connection.
        self.kept_losses: defaultdict[str, list[float]] = defaultdict(list)

    def expire_token(self) -> None:
        self.tokens += 1
        self.token = f"token-{self.tokens}"

    def receive(self, process: Process, url: str, payload: bytes, token: str) -> tuple[Plan, Sent | None]:
        self._scheduler.note("request", process.name, url, payload)
        body = json.loads(payload)
        if "get_token" in url:
            self.requests["token"] += 1
            plan = self.behave_token()
            return plan._replace(body=json.dumps({"access_token": self.token}).encode()), None
        if "dlr" in url:
            self.requests["report"] += 1
            self.on_polled(process, body["msg_id"])
            word = self.words.get(body["msg_id"], self.word)
            return Plan(self.report_seconds, body=json.dumps({"status": word}).encode()), None
        self.requests["send"] += 1
        match = TEXT.search(body["msg"])
        assert match
        number = int(match[1])
        self.on_written(process, number)
        sent = Sent(self._scheduler.now, process, number)
        if token != self.token:
            sent.answered = True  # The complete response comes at once.
            return Plan(0.02, status=401, body=b'{"detail": "token"}'), sent
        self.sent.append(sent)
        self.by_number[number].append(sent)
        plan, sent.accepted = self.behave(number)
        sent.status = plan.status if plan.kind == ANSWERED else 0
        if sent.accepted:
            # A 5xx response counts as a failure, and a failure frees the rate-limit key.
            if sent.status < 500:
                self.note_accepted(number)
            self.on_accepted(number)
        if plan.status == 200:
            plan = plan._replace(body=json.dumps({"msg_id": f"id-{number}-{len(self.by_number[number])}"}).encode())
        return plan, sent

    def note_read(self, sent: Sent | None) -> None:
        if sent:
            sent.answered, sent.answered_at = True, self._scheduler.now

    def post(self, process: Process, request: Request, config: Config) -> responses.Reply:
        """Replaces `sms.dmark.blocking.post` in the simulation."""
        started = self._scheduler.now
        if self.refuses_connections or self.drops_connections:
            self.dropped = self.dropped or self.drops_connections
            self._scheduler.park(config.connect_timeout if self.drops_connections else 0.001)
            raise NoResponse("no connection", request_written=False, timed_out=self.drops_connections)
        self._scheduler.park(0.002)
        plan, sent = self.receive(process, request.url, request.payload, request.token)
        if plan.kind == SILENT or plan.delay > config.read_timeout:
            self._scheduler.park(config.read_timeout)
            raise NoResponse("timeout", request_written=True, timed_out=True)
        self._scheduler.park(plan.delay)
        if plan.kind != ANSWERED:
            raise NoResponse(plan.kind, request_written=True)
        self.note_read(sent)
        return responses.read(plan.status, plan.body, None, round((self._scheduler.now - started) * 1000))


class SimCurl:
    def __init__(self) -> None:
        self.options: dict[int, Any] = {}
        self.info: dict[int, Any] = {}
        self.fd = 0
        self.state = "idle"
        self.outcome: tuple[Plan, Sent | None] | None = None

    def setopt(self, option: int, value: Any) -> None:
        self.options[option] = value

    def getinfo(self, what: int) -> Any:
        return self.info.get(what, 0)


class SimMulti:
    def __init__(self, scheduler: Scheduler, descriptors: Descriptors, provider: Provider) -> None:
        self._scheduler, self._descriptors, self._provider = scheduler, descriptors, provider
        assert scheduler.current
        self._process = scheduler.current.process
        self._options: dict[int, Any] = {}
        self._new: list[SimCurl] = []
        self._by_fd: dict[int, SimCurl] = {}
        self._finished: list[tuple[SimCurl, int]] = []
        self._kept = 0

    def setopt(self, option: int, value: Any) -> None:
        self._options[option] = value

    def add_handle(self, curl: SimCurl) -> None:
        curl.info, curl.outcome, curl.state = {}, None, "new"
        self._new.append(curl)
        self._options[pycurl.M_TIMERFUNCTION](0)

    def remove_handle(self, curl: SimCurl) -> None:
        if curl in self._new:
            self._new.remove(curl)
        self._unwatch(curl)
        curl.state = "idle"

    def _unwatch(self, curl: SimCurl) -> None:
        if self._by_fd.pop(curl.fd, None):
            self._options[pycurl.M_SOCKETFUNCTION](pycurl.POLL_REMOVE, curl.fd, self, None)
            self._descriptors.clear(curl.fd)

    def close(self) -> None: ...

    def info_read(self) -> tuple[int, list[SimCurl], list[tuple[SimCurl, int, str]]]:
        finished, self._finished = self._finished, []
        return (
            0,
            [curl for curl, code in finished if not code],
            [(curl, code, "") for curl, code in finished if code],
        )

    def socket_action(self, fd: int, flags: int) -> None:
        if fd == pycurl.SOCKET_TIMEOUT:
            new, self._new = self._new, []
            for curl in new:
                self._begin(curl)
            return
        self._descriptors.clear(fd)
        if fd not in self._by_fd:
            return
        curl = self._by_fd[fd]
        if curl.state == "connecting":
            self._write(curl)
        elif curl.state == "refused":
            self._finish(curl, pycurl.E_COULDNT_CONNECT)
        elif curl.state in ("no answer to connect", "timed out"):
            self._finish(curl, pycurl.E_OPERATION_TIMEDOUT)
        elif curl.state == "answered":
            self._read(curl)

    def _begin(self, curl: SimCurl) -> None:
        curl.fd = self._descriptors.new()
        self._by_fd[curl.fd] = curl
        total = curl.options[pycurl.TIMEOUT_MS] / 1000
        self._scheduler.call_at(self._scheduler.now + total, self._times_out, curl.fd)
        self._options[pycurl.M_SOCKETFUNCTION](pycurl.POLL_OUT, curl.fd, self, None)
        if self._kept and not curl.options.get(pycurl.FRESH_CONNECT):
            self._kept -= 1
            curl.state = "connecting"
            return self._write(curl, reused=True)
        curl.info[pycurl.NUM_CONNECTS] = 1
        delay, curl.state = 0.001, "connecting"
        if self._provider.refuses_connections:
            curl.state = "refused"
        elif self._provider.drops_connections:
            self._provider.dropped = True
            curl.state, delay = "no answer to connect", curl.options[pycurl.CONNECTTIMEOUT_MS] / 1000
        self._scheduler.call_at(
            self._scheduler.now + delay,
            self._descriptors.set_ready,
            curl.fd,
            selectors.EVENT_READ | selectors.EVENT_WRITE,
        )
        return None

    def _write(self, curl: SimCurl, *, reused: bool = False) -> None:
        payload, size = b"", curl.options[pycurl.POSTFIELDSIZE]
        while len(payload) < size:
            part = curl.options[pycurl.READFUNCTION](16384)
            if part == pycurl.READFUNC_ABORT:
                return self._finish(curl, pycurl.E_ABORTED_BY_CALLBACK)
            payload += part
        curl.info[pycurl.REQUEST_SIZE] = size + 200
        lost = reused and self._scheduler.draw("kept").random() < self._provider.loses_kept_connections
        if lost:
            self._provider.kept_losses[self._process.name].append(self._scheduler.now)
            return self._finish(curl, pycurl.E_GOT_NOTHING)
        self._options[pycurl.M_SOCKETFUNCTION](pycurl.POLL_IN, curl.fd, self, None)
        token = next((h[11:] for h in curl.options[pycurl.HTTPHEADER] if h.startswith("authToken: ")), "")
        curl.outcome = self._provider.receive(self._process, curl.options[pycurl.URL], payload, token)
        plan, _ = curl.outcome
        curl.state = "answered"
        if plan.kind != SILENT:
            fd = curl.fd
            self._scheduler.call_at(self._scheduler.now + plan.delay, self._arrives, fd)
        return None

    def _times_out(self, fd: int) -> None:
        if fd in self._by_fd:
            self._by_fd[fd].state = "timed out"
            self._descriptors.set_ready(fd, selectors.EVENT_READ)

    def _arrives(self, fd: int) -> None:
        if fd in self._by_fd:
            self._descriptors.set_ready(fd, selectors.EVENT_READ)

    def _read(self, curl: SimCurl) -> None:
        assert curl.outcome
        plan, sent = curl.outcome
        if plan.kind != ANSWERED:
            return self._finish(curl, _CODES[plan.kind])
        curl.info[pycurl.RESPONSE_CODE] = plan.status
        curl.options[pycurl.WRITEDATA].write(plan.body)
        self._provider.note_read(sent)
        self._kept += 1
        return self._finish(curl, 0)

    def _finish(self, curl: SimCurl, code: int) -> None:
        self._unwatch(curl)
        curl.state = "finished"
        self._finished.append((curl, code))
