"""The state of the sandbox: its switches, the messages that it has accepted, and the requests that it has received."""

import secrets
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, ClassVar

from sms.sandbox.faults import Fault, Faults
from sms.sandbox.later import Later


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


@dataclass
class Reply:
    """An SMS that a user wrote on a phone of the sandbox. `note`: the result of sending it to the site."""

    number: str
    text: str
    sent_at: str
    note: str = "sending"


@dataclass
class Received:
    """An SMS that the sandbox accepted. `hidden`: the sandbox lost the SMS on purpose, so the page does not show it."""

    msg_id: int
    to: str
    text: str
    received_at: str
    dlr_url: str
    status: str = "PENDING"
    hidden: bool = False
    # The status words of the pushed reports. " (refused)" is added to a word if the receiver refused the report.
    reports: list[str] = field(default_factory=list)


class State:
    """The sandbox's state, protected by one lock. `version` increases with each change that the page shows."""

    faults_class: ClassVar[type[Faults]] = Faults

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.later = Later()
        self.key = secrets.token_hex(32)
        self.next_id = 2047158
        self.version = 0
        self.tokens: set[str] = set()
        self.empty()

    def empty(self) -> None:
        """Reset the switches, messages and requests. The caller must hold the lock."""
        self.faults = self.faults_class()
        self.messages: list[Received] = []
        self.replies: list[Reply] = []
        self.by_id: dict[str, Received] = {}
        self.copies: Counter[tuple[str, str]] = Counter()
        self.requests: deque[dict[str, Any]] = deque(maxlen=5000)
        self.requests_by_path: Counter[str] = Counter()
        self.requests_by_place: Counter[str] = Counter()

    def reset(self) -> None:
        with self.lock:
            self.later.clear()
            self.empty()
            self.version += 1

    def set_faults(self, values: dict[str, Any]) -> None:
        with self.lock:
            self.faults.update(values)
            self.requests_by_place.clear()
            self.version += 1

    def take(self, to: str, text: str, dlr_url: str) -> Received:
        with self.lock:
            self.next_id += 1
            message = Received(self.next_id, to, text, now(), dlr_url, hidden=self.faults.of_number(to).lose)
            self.messages.append(message)
            self.by_id[str(message.msg_id)] = message
            self.copies[to, text] += 1
            self.version += 1
            return message

    def reported(self, message: Received, word: str) -> None:
        with self.lock:
            message.reports.append(word)
            self.version += 1

    def find(self, msg_id: object) -> Received | None:
        with self.lock:
            return self.by_id.get(str(msg_id))

    def inbox(self) -> list[dict[str, Any]]:
        """Return the messages that the sandbox's phones have received, newest first."""
        with self.lock:
            return [
                {name: getattr(message, name) for name in ("msg_id", "to", "text", "received_at")}
                for message in reversed(self.messages)
                if not message.hidden
            ]

    def counts(self) -> dict[str, Any]:
        """Return the number of requests by path, the number of accepted messages, and a list of repeated messages."""
        with self.lock:
            return self._counts()

    def _counts(self) -> dict[str, Any]:
        repeated = [(to, text, copies) for (to, text), copies in self.copies.items() if copies > 1]
        return {
            "paths": dict(self.requests_by_path),
            "texts": {
                "taken": len(self.messages),
                "different": len(self.copies),
                "by_copies": dict(Counter(self.copies.values())),
                "repeated": [{"to": to, "text": text, "copies": copies} for to, text, copies in repeated],
            },
        }

    def fault(self, place: str, number: str = "") -> Fault:
        """Return the fault to apply to this request.

        `place`: the kind of the request, which is also the name of its switch, for example `send`. A fixed outcome of
        `number` overrides this switch.
        """
        with self.lock:
            if special := self.faults.special(number).get(place):
                return _fault(special)
            name = str(getattr(self.faults, place))
            self.requests_by_place[place] += 1
            if name == "ok" or self.requests_by_place[place] % max(1, getattr(self.faults, f"{place}_every", 1)):
                return Fault("ok", taken=False)
            left = getattr(self.faults, f"{place}_times", 0)
            if left:
                setattr(self.faults, f"{place}_times", left - 1)
                self.version += 1
                if left == 1:
                    setattr(self.faults, place, "ok")
            return _fault(name)

    def record(self, method: str, path: str, body: object) -> None:
        """Record a request. Requests that get a fault as response are recorded too."""
        with self.lock:
            self.requests_by_path[path] += 1
            self.requests.append({"at": time.time(), "method": method, "path": path, "body": body})


def _fault(name: str) -> Fault:
    return Fault(name.removeprefix("taken_"), taken=name.startswith("taken_"))
