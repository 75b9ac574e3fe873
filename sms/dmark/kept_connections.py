"""Decide if requests to DMark may reuse idle open connections (kept connections).

A request is lost if the provider has just closed the kept connection. After three losses within a minute, every request
uses a new connection for a minute.
"""

from collections import deque

from sms import clock

_LOSSES, _SECONDS = 3, 60.0


class KeptConnections:
    """Decides if idle open connections may be reused. The methods may be called from any thread."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=_LOSSES)
        self._unused_until = 0.0

    @property
    def usable(self) -> bool:
        return clock.monotonic() >= self._unused_until

    def note_loss(self) -> None:
        now = clock.monotonic()
        self._losses.append(now)
        if len(self._losses) == _LOSSES and self._losses[0] > now - _SECONDS:
            self._unused_until = now + _SECONDS
