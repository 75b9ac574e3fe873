"""The engine: a thread that sends many messages at once, with libcurl's multi interface. A job is one message.

The path of a job: submit → inbox → begun (requests, pauses, tokens) → ended → take.

After a crash, begun jobs without a stored result may be sent again. Therefore the engine limits their number to
`in_flight + unrecorded`. No send request is written after the worker's claims have expired.
"""

import contextlib
import heapq
import itertools
import selectors
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pycurl

from sms import clock, conf, runtime
from sms.dmark.conversation import Command, Conversation, NoResponse, OnExchange, Pause, Request
from sms.dmark.exchange import Exchange
from sms.dmark.kept_connections import KeptConnections
from sms.dmark.responses import Reply
from sms.logs import get_logger
from sms.sending.claims import ClaimedMessage
from sms.worker.engine.tokens import TokenQueue
from sms.worker.engine.transfer import Transfer
from sms.worker.waker import Waker

logger = get_logger("sms.worker")

_LONGEST_SLEEP = 1.0
# If a repeated send request is not counted in its message's row within this many seconds, the job ends.
_LONGEST_COUNT = 5.0
# Names of a job's steps, as operators see them.
WAITING, ENDED = "waiting to begin", "ended, not recorded yet"
UNANSWERED = "send: no answer yet"


class LeaseExpired(Exception):
    """The send request was not written, because the message's claim or its eligibility check was too old."""


@dataclass(slots=True, eq=False)
class Job:
    """A message that the engine sends, and its conversation with DMark.

    `until`: latest time (monotonic) to begin. `command`: first command of `conversation`. `counted`: False if the next
    send request must first be counted in the message's row. `ending`: return value or exception of `conversation`.
    """

    message: ClaimedMessage
    start: Callable[[OnExchange], Conversation[str]]
    until: float = 0.0
    conversation: Conversation[str] | None = None
    command: Command | None = None
    lease_lost: bool = False
    counted: bool = field(init=False)
    exchanges: list[Exchange] = field(default_factory=list)
    begun: bool = False
    begun_at: float = 0.0
    ending: str | Exception = ""
    step: str = WAITING
    since: float = field(default_factory=clock.monotonic)

    def __post_init__(self) -> None:
        # Requests after an ambiguous one are counted in advance. The reaper counts a first request cut off by a crash.
        self.counted = not self.message.ambiguous_requests

    def mark(self, step: str) -> None:
        self.step, self.since = step, clock.monotonic()

    def lose_lease(self) -> None:
        """Clear the claim, so that a failure of this job is not stored. Another sender may have claimed the message."""
        self.lease_lost, self.message.claim = True, ""

    @property
    def in_flight(self) -> bool:
        return self.begun and self.step != ENDED


class Engine:
    """Sends many messages at once, in its own thread.

    Calls `wake_owner` if there are new jobs in `ended` or `uncounted`, or if `inbox` runs low.
    """

    def __init__(
        self, config: conf.Config, in_flight: int, unrecorded: int, batch: int, wake_owner: Callable[[], None]
    ) -> None:
        self.in_flight, self.unrecorded, self.batch = in_flight, unrecorded, batch
        self._timeouts, self._wake_owner = (config.connect_timeout, config.read_timeout), wake_owner
        # Other threads also use the attributes from here to `tokens`.
        self.inbox: deque[Job] = deque()
        self.ended: deque[Job] = deque()
        # Repeated send requests, not yet counted in their messages' rows. `write_counted` moves them to `_counted`.
        self.uncounted: deque[tuple[Job, Request]] = deque()
        self._counted: deque[tuple[Job, Request]] = deque()
        # After this time (monotonic), no job begins and no send request is written.
        self.leases_hold_until = 0.0
        # While `draining` is True, requests in flight finish without immediate retries.
        self.draining = self._owner_told = self._quit = False
        self.recorded, self.low_water = 0, -1
        self.waker = Waker()
        self.tokens = TokenQueue(config, self._go_on, self.waker.wake)
        # Only the engine's thread uses the attributes below.
        self.begun: set[Job] = set()
        self._count_ended = 0
        self._free: list[Transfer] = []
        self._transfers: dict[Any, Transfer] = {}
        self._running: dict[Transfer, Job] = {}
        self._unanswered: deque[tuple[float, Transfer, Job, float]] = deque()
        self._pauses: list[tuple[float, int, Job]] = []
        self._pause_number = itertools.count()
        self._curl_due: float | None = None
        self._kept_connections = KeptConnections()

    def start(self) -> runtime.Thread:
        self._thread = runtime.current.start(self._run, "sms-engine")
        return self._thread

    def submit(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            # Begin the conversation in this thread, because work in the engine's thread delays all other messages.
            with contextlib.suppress(Exception):  # If this fails, the engine's thread does it again.
                conversation = job.start(job.exchanges.append)
                job.command, job.conversation = next(conversation), conversation
            self.inbox.append(job)
        self.waker.wake()

    def take(self) -> list[Job]:
        """Remove and return the jobs that have ended, and jobs that were not begun in time."""
        self._owner_told = False
        return _emptied(self.ended)

    def take_back(self) -> list[Job]:
        """Remove and return the jobs that have not begun."""
        return _emptied(self.inbox)

    def note_recorded(self, count: int) -> None:
        """Add `count` to the number of jobs whose results have been stored."""
        full = self._full()
        self.recorded += count
        if full:
            self.waker.wake()

    def write_counted(self, count: int) -> None:
        """Release the first `count` requests of `uncounted` for sending.

        The caller has already counted these requests in the rows of their messages.
        """
        for _ in range(count):
            self._counted.append(self.uncounted.popleft())
        self.waker.wake()

    def quit(self, seconds: float) -> bool:
        """End the engine and cut off the requests in flight. Return False if this takes longer than `seconds`."""
        self.tokens.asked.put(None)  # Ends the thread of the tokens.
        self._quit = True
        self.waker.wake()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, self.in_flight)
        self._selector = runtime.current.selector()
        self._selector.register(self.waker, selectors.EVENT_READ)
        while not self._quit:
            # Catch every exception: if the thread ended, no message in flight would get a result.
            try:
                self._pass()
            except Exception:
                logger.exception("sms.worker_error: the engine continues")
                runtime.current.sleep(0.1)
        for transfer in self._running:
            self._multi.remove_handle(transfer.curl)
        self._multi.close()
        self._selector.close()
        self.waker.close()

    def _pass(self) -> None:
        for key, events in self.waker.sleep(self._selector, self._due):
            readable = events & selectors.EVENT_READ and pycurl.CSELECT_IN
            writable = events & selectors.EVENT_WRITE and pycurl.CSELECT_OUT
            self._multi.socket_action(key.fd, readable | writable)
        self._run_timer()
        self._collect()
        now = clock.monotonic()
        while self._unanswered and self._unanswered[0][0] <= now:
            _, transfer, job, started = self._unanswered.popleft()
            if self._running.get(transfer) is job and transfer.started == started:
                self._finished(transfer, pycurl.E_OPERATION_TIMEDOUT)
        self.tokens.take_answers()
        while self._counted:
            job, request = self._counted.popleft()
            # If counting the request took too long, the rate-limit key may have expired. Then queue the message again.
            if now > job.since + _LONGEST_COUNT:
                self._end(job, LeaseExpired())
            else:
                self._go_on(job, command=request)
        while self._pauses and (self.draining or self._pauses[0][0] <= now):
            _, _, job = heapq.heappop(self._pauses)
            self._go_on(job, False if self.draining else None)
        self._begin()
        # Let libcurl begin the new requests before this thread sleeps. Collect requests that have already failed.
        self._run_timer()
        self._collect()
        ended = len(self.ended)
        if (ended and not self._owner_told) or ended >= self.batch or len(self.inbox) <= self.low_water:
            self._owner_told, self.low_water = bool(ended) or self._owner_told, -1
            self._wake_owner()

    def _due(self) -> float:
        """Return the time (monotonic) of the next pass of the loop. If there is work now, this time is in the past."""
        if self._quit or self._counted or self.tokens.answers or (self.draining and self._pauses) or self._may_begin():
            return 0.0
        due = [clock.monotonic() + _LONGEST_SLEEP]
        if self._curl_due is not None:
            due.append(self._curl_due)
        if self._unanswered:
            due.append(self._unanswered[0][0])
        if self._pauses:
            due.append(self._pauses[0][0])
        return min(due)

    def _watch(self, event: int, fd: int, *_: object) -> None:
        if event == pycurl.POLL_REMOVE:
            # The socket may already be closed.
            with contextlib.suppress(KeyError, ValueError, OSError):
                self._selector.unregister(fd)
            return
        events = (event & pycurl.POLL_IN and selectors.EVENT_READ) | (event & pycurl.POLL_OUT and selectors.EVENT_WRITE)
        try:
            self._selector.modify(fd, events)
        except KeyError:
            self._selector.register(fd, events)

    def _run_timer(self) -> None:
        if self._curl_due is not None and clock.monotonic() >= self._curl_due:
            self._curl_due = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def _set_timer(self, milliseconds: int) -> None:
        self._curl_due = None if milliseconds < 0 else clock.monotonic() + milliseconds / 1000

    def _request(self, job: Job, request: Request) -> None:
        if request.step == "send" and not self._holds_lease(job):
            return self._end(job, LeaseExpired())
        if request.step == "send" and not job.counted:
            job.mark("send: its row is counted first")
            job.counted = True
            self.uncounted.append((job, request))
            return self._wake_owner()
        if not self._free:
            self._free.append(Transfer(*self._timeouts, self._may_write))
            self._transfers[self._free[-1].curl] = self._free[-1]
        transfer = self._free.pop()
        # A retry after an ambiguous request gets a new connection, because DMark may have closed the idle ones.
        fresh = job.message.ambiguous_requests > 0 or not self._kept_connections.usable
        transfer.prepare(request, fresh_connection=fresh)
        job.mark(f"{request.step}: connecting")
        self._running[transfer] = job
        self._multi.add_handle(transfer.curl)
        return None

    def _holds_lease(self, job: Job) -> bool:
        return not job.lease_lost and clock.monotonic() < self.leases_hold_until

    def _may_write(self, transfer: Transfer) -> bool:
        """Return True if the request's body may be written, now that libcurl has connected."""
        job, now = self._running[transfer], clock.monotonic()
        if transfer.step == "send" and not self._holds_lease(job):
            return False
        job.mark(UNANSWERED)
        self._unanswered.append((now + self._timeouts[1], transfer, job, transfer.started))
        return True

    def _collect(self) -> None:
        while True:
            left, ended, failed = self._multi.info_read()
            for curl in ended:
                self._finished(self._transfers[curl], 0)
            for curl, code, _ in failed:
                self._finished(self._transfers[curl], code)
            if not left:
                return

    def _finished(self, transfer: Transfer, code: int) -> None:
        job = self._running.pop(transfer)
        self._multi.remove_handle(transfer.curl)
        event: Reply | NoResponse
        try:
            event = transfer.event(code)
            if isinstance(event, NoResponse) and event.request_written and transfer.lost_kept_connection(code):
                self._kept_connections.note_loss()
        except Exception:
            # Without an event, the job would never end. The event says that DMark may have the message.
            logger.exception("sms.worker_error: an answer was not read")
            event = NoResponse("its answer could not be read", request_written=True)
        self._free.append(transfer)
        if code == pycurl.E_ABORTED_BY_CALLBACK:
            self._end(job, LeaseExpired())
        else:
            self._go_on(job, event, event if isinstance(event, NoResponse) else None)

    def _go_on(
        self, job: Job, value: object = None, error: Exception | None = None, command: Command | None = None
    ) -> None:
        """Carry out `command`. If `command` is None, carry out the next command of the job's conversation."""
        try:
            if job.conversation is None:
                job.conversation = job.start(job.exchanges.append)
            if command is None:
                command = job.conversation.throw(error) if error else job.conversation.send(value)
            if isinstance(command, Request):
                return self._request(job, command)
        except StopIteration as end:
            return self._end(job, end.value)
        except Exception as ended:  # noqa: BLE001 - the recorder reports it
            return self._end(job, ended)
        if isinstance(command, Pause):
            job.mark("send: pause before a retry")
            heapq.heappush(self._pauses, (clock.monotonic() + command.seconds, next(self._pause_number), job))
            return None
        return self.tokens.want(job, command.rejected)

    def _end(self, job: Job, ending: str | Exception) -> None:
        job.ending = ending
        job.mark(ENDED)
        self.begun.discard(job)
        self._count_ended += 1
        self.ended.append(job)

    def _full(self) -> bool:
        begun = len(self.begun)
        return begun >= self.in_flight or begun + self._count_ended - self.recorded >= self.in_flight + self.unrecorded

    def _may_begin(self) -> bool:
        return bool(self.inbox) and not self._full() and clock.monotonic() < self.leases_hold_until

    def _begin(self) -> None:
        while self._may_begin():
            try:
                job = self.inbox.popleft()
            except IndexError:  # Another thread has removed the last job with `take_back`.
                return
            now = clock.monotonic()
            if now >= job.until:
                self.ended.append(job)
                continue
            job.begun, job.begun_at = True, now
            self.begun.add(job)
            self._go_on(job, command=job.command)


def _emptied(jobs: deque[Job]) -> list[Job]:
    """Remove and return all jobs. Another thread may add or remove jobs at the same time."""
    taken: list[Job] = []
    try:
        while True:
            taken.append(jobs.popleft())
    except IndexError:
        return taken
