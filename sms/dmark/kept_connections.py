"""Decide if requests to DMark may reuse idle open connections (kept connections).

A provider may close a kept connection without notice. If a send request is lost in this way, nobody knows if DMark
received it. After three losses within a minute, no kept connection is used for a minute.
"""

from collections import deque

from sms import clock

_LOSSES, _SECONDS = 3, 60.0


class KeptConnections:
    """Counts lost connections, and decides if idle open connections (kept connections) may be used.

    The methods may be called from any thread.
    """

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
