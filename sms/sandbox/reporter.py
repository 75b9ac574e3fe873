"""Delivery reports, pushed to the `dlr_url` of each message, as the switches say."""

import json
import logging
import threading
import time
from datetime import datetime, timezone
from queue import PriorityQueue
from typing import NamedTuple
from urllib.parse import urlencode

import requests

from sms.sandbox.state import Received, State

logger = logging.getLogger("sms.sandbox")

LATE_SECONDS = 30.0
_WORDS = {"DELIVERED": "1", "FAILED": "2", "PENDING": "8"}


class _Due(NamedTuple):
    at: float
    order: int
    message: Received
    word: str
    tries: int


class Reporter:
    """One thread, which sends what is due; a report that finds nobody is tried twice more."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._queue: PriorityQueue[_Due] = PriorityQueue()
        self._order = 0
        self._started = threading.Lock()

    def plan(self, message: Received) -> None:
        faults = self.state.faults
        after = faults.report_after
        words = {
            "delivered": [("DELIVERED", after)],
            "numeric": [("DELIVERED", after)],
            "failed": [("FAILED", after)],
            "pending": [("PENDING", after)],
            "late": [("DELIVERED", after + LATE_SECONDS)],
            "twice": [("DELIVERED", after), ("DELIVERED", after + 0.5)],
            "backwards": [("DELIVERED", after), ("FAILED", after + 0.3), ("PENDING", after + 0.6)],
            "never": [],
        }[faults.report]
        message.status = words[0][0] if words else "PENDING"
        for word, delay in words:
            self._put(time.monotonic() + delay, message, word, 0)

    def _put(self, at: float, message: Received, word: str, tries: int) -> None:
        if not message.dlr_url:
            return
        self._order += 1
        self._queue.put(_Due(at, self._order, message, word, tries))
        if self._started.acquire(blocking=False):
            threading.Thread(target=self._run, name="sandbox-reports", daemon=True).start()

    def _run(self) -> None:
        while True:
            due = self._queue.get()
            wait = due.at - time.monotonic()
            if wait > 0:
                self._queue.put(due)
                time.sleep(min(wait, 0.05))
                continue
            self._push(due)

    def _push(self, due: _Due) -> None:
        faults = self.state.faults
        word = _WORDS[due.word] if faults.report == "numeric" else due.word
        values = {
            "msg_id": due.message.msg_id,
            "status": word,
            "submitted_at": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        }
        url = due.message.dlr_url
        try:
            if faults.report_method == "get":
                answer = requests.get(f"{url}?{urlencode(values)}", timeout=5, allow_redirects=False)
            elif faults.report_method == "form":
                answer = requests.post(url, data=values, timeout=5, allow_redirects=False)
            else:
                headers = {"Content-Type": "application/json"}
                answer = requests.post(url, json.dumps(values), headers=headers, timeout=5, allow_redirects=False)
            logger.debug("sandbox: report %s answered %s", word, answer.status_code)
            self.state.reported(due.message, due.word.lower() if answer.ok else f"{due.word.lower()} (refused)")
        except requests.RequestException as error:
            logger.warning("sandbox: report for %s not taken (%s)", due.message.msg_id, type(error).__name__)
            if due.tries < 2:
                self._put(time.monotonic() + 2.0, due.message, due.word, due.tries + 1)
