"""One thread that carries many conversations with DMark at once, over libcurl. It touches neither database nor cache.

    submit → inbox → begun: request, pause, token … → ended → take

`ended` less what `recorded` says is what a crash would send twice beside what is in flight, so nothing is begun while
the two together are more than `in_flight + unwritten`.
"""

import copy
import heapq
import logging
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

import pycurl

from sms.dmark.conversation import AccessToken, Conversation, NoResponse, OnExchange, Pause, Request
from sms.dmark.exchange import Exchange
from sms.dmark.responses import Reply
from sms.errors import ProviderError
from sms.sending.claims import Text
from sms.worker.transfer import Transfer
from sms.worker.waker import Waker

logger = logging.getLogger("sms.worker")

# So long the token in hand is used without a look at the cache; after half of it the look is asked for.
_TOKEN_SECONDS = 1.0
_LONGEST_SLEEP = 1.0
# Where a job is, in words.
WAITING, ENDED = "waiting to begin", "ended, not recorded yet"
UNANSWERED = "send: no answer yet"


class Answer(NamedTuple):
    """What came of asking for a token that is not `rejected`, and the requests to DMark that it took."""

    rejected: str
    token: str | ProviderError
    exchanges: list[Exchange]


class Job:
    """A text's conversation on its way; `until` (monotonic): it is handed back, not begun, after that; `lost`: another
    has the text by now, or a report has come."""

    __slots__ = (
        "begun",
        "begun_at",
        "exchanges",
        "lost",
        "message",
        "open",
        "result",
        "since",
        "step",
        "talk",
        "until",
    )

    def __init__(self, message: Text, open_talk: Callable[[OnExchange], Conversation[str]], until: float = 0.0) -> None:
        self.message, self.open, self.until = message, open_talk, until
        self.talk: Conversation[str] | None = None
        self.lost = False
        self.exchanges: list[Exchange] = []
        self.step, self.since, self.begun, self.begun_at = WAITING, time.monotonic(), False, 0.0
        # What the conversation returned, or the exception that it ended with.
        self.result: str | Exception = ""


class Loop:
    """`ask_token` is called with a token that was refused, or ""; the answer comes by `give_token`. `ring` is called
    when there is something to take."""

    def __init__(
        self,
        *,
        in_flight: int,
        unwritten: int,
        batch: int,
        connect_timeout: float,
        read_timeout: float,
        ask_token: Callable[[str], None],
        ring: Callable[[], None],
    ) -> None:
        self.in_flight, self.unwritten, self.batch = in_flight, unwritten, batch
        self._timeouts, self._ask_token, self._ring = (connect_timeout, read_timeout), ask_token, ring
        # The other threads' side.
        self.inbox: deque[Job] = deque()
        self._ended: deque[Job] = deque()
        self._answers: deque[Answer] = deque()
        # Nothing is begun after that (monotonic): the leases may have run out.
        self.leases_hold_until = 0.0
        self.recorded = 0
        self.low_water = -1
        self.draining = self._told = self._quit = False
        self._bell = Waker()
        # The loop's own.
        self.begun: set[Job] = set()
        self._count_ended = 0
        self._free: list[Transfer] = []
        self._transfers: dict[pycurl.Curl, Transfer] = {}
        self._running: dict[Transfer, Job] = {}
        self._unanswered: deque[tuple[float, Transfer, Job, float]] = deque()
        self._pauses: list[tuple[float, int, Job]] = []
        self._pause_number = 0
        self._token, self._token_until, self._asking = "", 0.0, False
        self._waiters: list[tuple[Job, str]] = []
        self._watched: set[int] = set()
        self._curl_due: float | None = None
        self._thread = threading.Thread(target=self._run, name="sms-loop", daemon=True)

    # --- for the other threads

    def start(self) -> None:
        self._thread.start()

    def submit(self, jobs: Iterable[Job]) -> None:
        self.inbox.extend(jobs)
        self._bell.ring()

    def wake(self) -> None:
        self._bell.ring()

    def give_token(self, answer: Answer) -> None:
        """What `ask_token` asked for."""
        self._answers.append(answer)
        self._bell.ring()

    def take(self, most: int) -> list[Job]:
        """What has ended, or was handed back without being begun."""
        self._told = False
        taken: list[Job] = []
        while self._ended and len(taken) < most:
            taken.append(self._ended.popleft())
        return taken

    def take_back(self) -> list[Job]:
        """All that is not begun."""
        taken: list[Job] = []
        try:
            while True:
                taken.append(self.inbox.popleft())
        except IndexError:
            return taken

    def written(self, count: int) -> None:
        """So many of the begun ones that were taken are recorded."""
        full = self._full()
        self.recorded += count
        if full:
            self._bell.ring()

    def waiting(self) -> int:
        """How many wait to be taken."""
        return len(self._ended)

    def drain(self) -> None:
        """No further request is begun for a text that had one; what is under way is finished."""
        self.draining = True
        self._bell.ring()

    def quit(self, seconds: float) -> bool:
        """End the thread, which cuts off what is in flight. False when it does not end in time."""
        self._quit = True
        self._bell.ring()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    # --- the thread

    def _run(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, self.in_flight)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._bell, selectors.EVENT_READ)
        while not self._quit:
            # A loop that ends leaves every text lying; one that logs and goes on leaves one.
            try:
                self._pass()
            except Exception:
                logger.exception("sms.worker_error", extra={"event": "sms.worker_error"})
                time.sleep(0.1)
        for transfer in self._running:
            self._multi.remove_handle(transfer.curl)
        self._multi.close()
        self._selector.close()
        self._bell.close()

    def _pass(self) -> None:
        for key, events in self._sleep():
            if key.fileobj is self._bell:
                self._bell.clear()
            else:
                flags = (events & selectors.EVENT_READ and pycurl.CSELECT_IN) | (
                    events & selectors.EVENT_WRITE and pycurl.CSELECT_OUT
                )
                self._multi.socket_action(key.fd, flags)
        self._run_timer()
        self._collect()
        now = time.monotonic()
        self._cut_unanswered(now)
        self._take_token()
        self._end_pauses(now)
        self._begin()
        # What was begun is written now, and not after what the next sleep brings; it may have failed already.
        self._run_timer()
        self._collect()
        self._tell()

    def _sleep(self) -> list[tuple[selectors.SelectorKey, int]]:
        due = time.monotonic() + _LONGEST_SLEEP
        if self._curl_due is not None:
            due = min(due, self._curl_due)
        if self._unanswered:
            due = min(due, self._unanswered[0][0])
        if self._pauses:
            due = min(due, self._pauses[0][0])
        with self._bell.asleep():
            if self._answers or self._may_begin() or (self.draining and self._pauses):
                due = 0.0
            return self._selector.select(max(0.0, due - time.monotonic()))

    def _watch(self, event: int, fd: int, *_: object) -> None:
        if event == pycurl.POLL_REMOVE:
            self._watched.discard(fd)
            try:
                self._selector.unregister(fd)
            except (KeyError, ValueError, OSError):
                return  # closed and forgotten already
            return
        events = (event & pycurl.POLL_IN and selectors.EVENT_READ) | (event & pycurl.POLL_OUT and selectors.EVENT_WRITE)
        if fd in self._watched:
            self._selector.modify(fd, events)
        else:
            self._selector.register(fd, events)
            self._watched.add(fd)

    def _run_timer(self) -> None:
        if self._curl_due is not None and time.monotonic() >= self._curl_due:
            self._curl_due = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def _set_timer(self, milliseconds: int) -> None:
        self._curl_due = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    # --- requests

    def _request(self, job: Job, request: Request) -> None:
        transfer = self._free.pop() if self._free else self._new_transfer()
        transfer.prepare(request)
        self._mark(job, f"{request.step}: connecting")
        self._running[transfer] = job
        self._multi.add_handle(transfer.curl)

    def _new_transfer(self) -> Transfer:
        transfer = Transfer(*self._timeouts, self._on_written)
        self._transfers[transfer.curl] = transfer
        return transfer

    def _on_written(self, transfer: Transfer) -> None:
        job, now = self._running[transfer], time.monotonic()
        job.step, job.since = UNANSWERED, now
        self._unanswered.append((now + self._timeouts[1], transfer, job, transfer.started))

    def _collect(self) -> None:
        while True:
            left, ended, failed = self._multi.info_read()
            for curl in ended:
                self._came(self._transfers[curl], 0)
            for curl, code, _ in failed:
                self._came(self._transfers[curl], code)
            if not left:
                return

    def _came(self, transfer: Transfer, code: int) -> None:
        job = self._running.pop(transfer)
        self._multi.remove_handle(transfer.curl)
        try:
            said: Reply | NoResponse = transfer.reply() if transfer.answered(code) else transfer.no_response(code)
        except Exception:
            # The text would stay in hand for ever; DMark may have it.
            logger.exception("sms.worker_error", extra={"event": "sms.worker_error"})
            said = NoResponse("its answer could not be read", request_written=True)
        self._free.append(transfer)
        if isinstance(said, NoResponse):
            self._go_on(job, error=said)
        else:
            self._go_on(job, said)

    def _cut_unanswered(self, now: float) -> None:
        while self._unanswered and self._unanswered[0][0] <= now:
            _, transfer, job, started = self._unanswered.popleft()
            if self._running.get(transfer) is job and transfer.started == started:
                self._came(transfer, pycurl.E_OPERATION_TIMEDOUT)

    # --- conversations

    def _go_on(self, job: Job, value: object = None, error: Exception | None = None) -> None:
        try:
            if job.talk is None:
                job.talk = job.open(job.exchanges.append)
            wanted = job.talk.throw(error) if error else job.talk.send(value)
            if isinstance(wanted, Request):
                return self._request(job, wanted)
        except StopIteration as end:
            return self._end(job, end.value)
        except Exception as ended:  # noqa: BLE001 - whoever takes it tells what it is
            return self._end(job, ended)
        if isinstance(wanted, Pause):
            self._mark(job, "send: pause before one more try")
            self._pause_number += 1
            heapq.heappush(self._pauses, (time.monotonic() + wanted.seconds, self._pause_number, job))
            return None
        return self._want_token(job, wanted.rejected)

    def _end(self, job: Job, result: str | Exception) -> None:
        job.result = result
        self._mark(job, ENDED)
        self.begun.discard(job)
        self._count_ended += 1
        self._ended.append(job)

    @staticmethod
    def _mark(job: Job, step: str) -> None:
        job.step, job.since = step, time.monotonic()

    def _end_pauses(self, now: float) -> None:
        while self._pauses and (self.draining or self._pauses[0][0] <= now):
            _, _, job = heapq.heappop(self._pauses)
            self._go_on(job, False if self.draining else None)

    # --- the token

    def _want_token(self, job: Job, rejected: str) -> None:
        now = time.monotonic()
        if self._token and self._token != rejected and (now < self._token_until or self._asking):
            if not self._asking and now > self._token_until - _TOKEN_SECONDS / 2:
                self._ask("")
            return self._go_on(job, AccessToken(self._token))
        self._mark(job, "token: waiting for it")
        self._waiters.append((job, rejected))
        if not self._asking:
            self._ask(rejected)
        return None

    def _ask(self, rejected: str) -> None:
        self._asking = True
        self._ask_token(rejected)

    def _take_token(self) -> None:
        while self._answers:
            asked, token, exchanges = self._answers.popleft()
            self._asking = False
            self._token = token if isinstance(token, str) else ""
            self._token_until = time.monotonic() + _TOKEN_SECONDS
            waiters, self._waiters = self._waiters, []
            if waiters:
                waiters[0][0].exchanges.extend(exchanges)
            for job, rejected in waiters:
                if isinstance(token, ProviderError):
                    # One exception raised by many would collect the tracebacks of all.
                    self._go_on(job, error=copy.copy(token))
                elif token == rejected != asked:
                    self._waiters.append((job, rejected))
                else:
                    self._go_on(job, AccessToken(token, round((time.monotonic() - job.since) * 1000)))
            if self._waiters and not self._asking:
                self._ask(self._waiters[0][1])

    # --- what is begun, and what is told

    def _full(self) -> bool:
        begun = len(self.begun)
        return begun >= self.in_flight or begun + self._count_ended - self.recorded >= self.in_flight + self.unwritten

    def _may_begin(self) -> bool:
        return bool(self.inbox) and not self._full() and time.monotonic() < self.leases_hold_until

    def _begin(self) -> None:
        while self._may_begin():
            try:
                job = self.inbox.popleft()
            except IndexError:  # taken back at this very moment
                return
            now = time.monotonic()
            if now >= job.until:
                self._ended.append(job)
                continue
            job.begun, job.begun_at = True, now
            self.begun.add(job)
            self._go_on(job)

    def _tell(self) -> None:
        ended = len(self._ended)
        low = len(self.inbox) <= self.low_water
        if (ended and not self._told) or ended >= self.batch or low:
            self._told, self.low_water = bool(ended) or self._told, -1
            self._ring()
