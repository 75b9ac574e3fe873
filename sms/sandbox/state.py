"""What the sandbox holds: the switches, the texts it took, the requests it was asked."""

import secrets
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from sms.sandbox.faults import Fault, Faults
from sms.sandbox.later import Later
from sms.sandbox.money import Money, now


@dataclass
class Received:
    """One text that the sandbox took."""

    msg_id: int
    to: str
    text: str
    received_at: str
    dlr_url: str
    status: str = "PENDING"
    hidden: bool = False
    # What was reported to `dlr_url`, and taken there.
    reports: list[str] = field(default_factory=list)


class State:
    """One lock for all of it; `version` counts the changes that the page shows."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.later = Later()
        self.key = secrets.token_hex(32)
        self.next_id = 2047158
        self.version = 0
        self.tokens: set[str] = set()
        self._empty()

    def _empty(self) -> None:
        self.faults = Faults()
        self.messages: list[Received] = []
        self.by_id: dict[str, Received] = {}
        self.copies: Counter[tuple[str, str]] = Counter()
        self.requests: deque[dict[str, Any]] = deque(maxlen=5000)
        self.counts: Counter[str] = Counter()
        self.befell: Counter[str] = Counter()
        self.money = Money()

    def reset(self) -> None:
        with self.lock:
            self.later.clear()
            self._empty()
            self.version += 1

    def set_faults(self, values: dict[str, Any]) -> None:
        with self.lock:
            self.faults.update(values)
            self.befell.clear()
            self.version += 1

    def changed(self) -> None:
        with self.lock:
            self.version += 1

    def take(self, to: str, text: str, dlr_url: str) -> Received:
        with self.lock:
            self.next_id += 1
            message = Received(self.next_id, to, text, now(), dlr_url, hidden=self.faults.lose)
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
        """Newest first, as a phone would have them."""
        with self.lock:
            return [
                {name: getattr(message, name) for name in ("msg_id", "to", "text", "received_at")}
                for message in reversed(self.messages)
                if not message.hidden
            ]

    def how_many(self) -> dict[str, Any]:
        """Numbers for scripts, without the texts but for those that came more than once."""
        with self.lock:
            more = [(to, text, copies) for (to, text), copies in self.copies.items() if copies > 1]
            return {
                "paths": dict(self.counts),
                "texts": {
                    "taken": len(self.messages),
                    "different": len(self.copies),
                    "by_copies": dict(Counter(self.copies.values())),
                    "repeated": [{"to": to, "text": text, "copies": copies} for to, text, copies in more],
                },
                "money": self.money.how_many(),
            }

    def fault(self, place: str) -> Fault:
        """The fault for this request; counts down one that was ordered for a number of requests."""
        with self.lock:
            name = str(getattr(self.faults, place))
            self.befell[place] += 1
            if name == "ok" or self.befell[place] % max(1, getattr(self.faults, f"{place}_every", 1)):
                return Fault("ok", taken=False)
            left = getattr(self.faults, f"{place}_times", 0)
            if left:
                setattr(self.faults, f"{place}_times", left - 1)
                self.version += 1
                if left == 1:
                    setattr(self.faults, place, "ok")
            return Fault(name.removeprefix("taken_"), taken=name.startswith("taken_"))

    def ask(self, method: str, path: str, body: object) -> None:
        with self.lock:
            self.counts[path] += 1
            self.requests.append({"at": time.time(), "method": method, "path": path, "body": body})
