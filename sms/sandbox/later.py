"""Run actions after a delay, for example push a delivery report or answer a payment prompt."""

import heapq
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

logger = logging.getLogger("sms.sandbox")

# Number of threads that run the actions. With one thread, a slow receiver of a report would delay other actions.
THREADS = 16

Act = Callable[[], object]


class Later:
    """A scheduler. One thread waits until the next action is due, and THREADS threads run the actions."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Act]] = []
        self._order = 0
        self._changed = threading.Condition()
        self._ready: SimpleQueue[Act | None] = SimpleQueue()
        self._stopped = False

    def put(self, seconds: float, act: Act) -> None:
        with self._changed:
            if not self._order:
                for run in (self._wait, *[self._work] * THREADS):
                    threading.Thread(target=run, name="sandbox-later", daemon=True).start()
            self._order += 1
            heapq.heappush(self._due, (time.monotonic() + seconds, self._order, act))
            self._changed.notify()

    def clear(self) -> None:
        with self._changed:
            self._due.clear()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        for _ in range(THREADS if self._order else 0):
            self._ready.put(None)

    def _wait(self) -> None:
        with self._changed:
            while not self._stopped:
                if self._due and self._due[0][0] <= time.monotonic():
                    self._ready.put(heapq.heappop(self._due)[2])
                else:
                    self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)

    def _work(self) -> None:
        while act := self._ready.get():
            try:
                act()
            except Exception:
                logger.exception("sandbox: a delayed action failed")


def push(url: str, values: Mapping[str, Any], method: str, *, garbled: bool = False) -> int | None:
    """Send `values` to `url`. Return the HTTP status of the response, or None if there was no response.

    `method`: `json`, `put` (JSON with PUT), `form` or `get` (values in the query). `garbled`: send a body that is not
    JSON.
    """
    parts = urlsplit(url)
    query, body, content_type = parts.query, b"", "application/json"
    if garbled:
        body = b"<html>502 Bad Gateway</html>"
    elif method == "get":
        query = "&".join(filter(None, (query, urlencode(values))))
    elif method == "form":
        body, content_type = urlencode(values).encode(), "application/x-www-form-urlencoded"
    else:
        body = json.dumps(values).encode()
    # `http.client` is used, because the `requests` library takes three times as much CPU time for a short request.
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    with closing(kind(parts.hostname or "", parts.port, timeout=5)) as connection:
        try:
            connection.request(
                {"get": "GET", "put": "PUT"}.get(method, "POST"),
                urlunsplit(("", "", parts.path or "/", query, "")),
                body or None,
                {"Content-Type": content_type} if body else {},
            )
            answer = connection.getresponse()
            answer.read()
        except (OSError, HTTPException) as error:
            logger.warning("sandbox: a push got no answer (%s)", type(error).__name__)
            return None
    logger.debug("sandbox: a push was answered %s", answer.status)
    return answer.status
