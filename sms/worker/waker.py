"""Wake a thread that sleeps in `select`. If the thread is not asleep, waking it makes no system call."""

import selectors
import socket
from collections.abc import Callable

from sms import clock, runtime


class Waker:
    """Wakes a sleeping thread through a socket pair. The thread registers the waker with its selector."""

    def __init__(self) -> None:
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        self._asleep = False

    def fileno(self) -> int:
        if self._sockets is None:
            self._sockets = runtime.current.socket_pair()
            for one in self._sockets:
                one.setblocking(False)
        return self._sockets[0].fileno()

    def sleep(
        self, selector: selectors.BaseSelector, until: Callable[[], float]
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait in `select` for a file event, a `wake`, or the time that `until()` returns. Return the file events."""
        self._asleep = True
        # Before `_asleep` was set, `wake` had no effect. Therefore `until` must check for work.
        events = selector.select(max(0.0, until() - clock.monotonic()))
        self._asleep = False
        others = [event for event in events if event[0].fileobj is not self]
        if self._sockets and len(others) < len(events):
            self._sockets[0].recv(4096)
        return others

    def wake(self) -> None:
        if self._asleep and self._sockets:
            try:
                self._sockets[1].send(b"!")
            except OSError:
                return  # Either a wake-up is already pending, or the sleeping thread has just ended.

    def close(self) -> None:
        """Close the sockets. Call this in the thread that calls `sleep`, and do not call `wake` afterwards."""
        for one in self._sockets or ():
            one.close()
