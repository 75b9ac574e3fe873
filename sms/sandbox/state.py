"""What the sandbox holds: the messages it took, the faults that are switched on, the requests it was asked."""

import secrets
import threading
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

# Each fault by the place it applies to; `ok` is none.
ANSWERS = (
    "ok 400 401 403 404 422 429 500 503 body_401 body_500 redirect hang slow reset truncated html huge list empty "
    "not_json wrong_type nul"
).split()
TOKENS = ("jwt", "no_exp", "past", "opaque", "missing")
SENDS = ("detail", "top", "no_id", "failed", "submitted_0")
REPORTS = ("delivered", "failed", "pending", "never", "late", "twice", "backwards", "numeric")
METHODS = ("json", "form", "get")


@dataclass
class Faults:
    """The switches. `*_times`: for so many requests only, then `ok` again; 0 means until switched back."""

    token: str = "ok"  # noqa: S105
    token_times: int = 0
    token_kind: str = "jwt"  # noqa: S105
    token_life: float = 86400.0
    send: str = "ok"
    send_times: int = 0
    send_kind: str = "detail"
    dlr: str = "ok"
    lose: bool = False
    refuse_tokens: bool = False
    latency_ms: float = 0.0
    retry_after: float = 1.0
    hang_seconds: float = 30.0
    report: str = "delivered"
    report_after: float = 1.0
    report_method: str = "json"

    def update(self, values: dict[str, Any]) -> None:
        """Raises ValueError with one sentence."""
        allowed = {
            "token": ANSWERS,
            "send": ANSWERS,
            "dlr": ANSWERS,
            "token_kind": TOKENS,
            "send_kind": SENDS,
            "report": REPORTS,
            "report_method": METHODS,
        }
        checked = {}
        for name, value in values.items():
            if name not in asdict(self):
                raise ValueError(f"There is no switch {name!r}; there are: {', '.join(asdict(self))}.")
            if name in allowed and str(value) not in allowed[name]:
                raise ValueError(f"{name} is one of: {', '.join(allowed[name])}.")
            kind = type(getattr(Faults(), name))
            if kind is bool:
                value = value if isinstance(value, bool) else str(value).lower() in ("1", "true", "on", "yes")
            try:
                checked[name] = kind(value)
            except (TypeError, ValueError, OverflowError):
                raise ValueError(f"{name} must be a number.") from None
            if kind in (int, float) and not 0 <= checked[name] < 1e9:
                raise ValueError(f"{name} must be a number from 0 on.")
        # All or nothing.
        for name, value in checked.items():
            setattr(self, name, value)


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


@dataclass
class State:
    faults: Faults = field(default_factory=Faults)
    messages: list[Received] = field(default_factory=list)
    requests: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=5000))
    counts: Counter[str] = field(default_factory=Counter)
    tokens: set[str] = field(default_factory=set)
    key: str = field(default_factory=lambda: secrets.token_hex(32))
    lock: threading.Lock = field(default_factory=threading.Lock)
    next_id: int = 2047158
    version: int = 0

    def reset(self) -> None:
        with self.lock:
            self.faults = Faults()
            self.messages.clear()
            self.requests.clear()
            self.counts.clear()
            self.version += 1

    def take(self, to: str, text: str, dlr_url: str) -> Received:
        with self.lock:
            self.next_id += 1
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            message = Received(self.next_id, to, text, now, dlr_url, hidden=self.faults.lose)
            self.messages.append(message)
            self.version += 1
            return message

    def set_faults(self, values: dict[str, Any]) -> None:
        with self.lock:
            self.faults.update(values)
            self.version += 1

    def reported(self, message: Received, word: str) -> None:
        with self.lock:
            message.reports.append(word)
            self.version += 1

    def find(self, msg_id: object) -> Received | None:
        with self.lock:
            return next((message for message in self.messages if str(message.msg_id) == str(msg_id)), None)

    def inbox(self) -> list[dict[str, Any]]:
        """Newest first, as a phone would have them."""
        with self.lock:
            return [
                {name: getattr(message, name) for name in ("msg_id", "to", "text", "received_at")}
                for message in reversed(self.messages)
                if not message.hidden
            ]

    def fault(self, place: str) -> str:
        """The fault for this request; counts down one that was ordered for a number of requests."""
        with self.lock:
            name = str(getattr(self.faults, place))
            times = f"{place}_times"
            left = getattr(self.faults, times, 0)
            if name != "ok" and left:
                setattr(self.faults, times, left - 1)
                self.version += 1
                if left == 1:
                    setattr(self.faults, place, "ok")
            return name

    def ask(self, method: str, path: str, body: object) -> None:
        with self.lock:
            self.counts[path] += 1
            self.requests.append({"at": time.time(), "method": method, "path": path, "body": body})
