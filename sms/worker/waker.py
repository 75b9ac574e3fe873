"""Wake a thread that sleeps in `select`. If the thread is not asleep, waking makes no system call."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from sms import runtime


class Waker:
    """A socket pair. The sleeping thread registers the waker with its selector; any thread may call `wake`."""

    def __init__(self) -> None:
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        self._asleep = False

    def fileno(self) -> int:
        if self._sockets is None:
            self._sockets = runtime.current.socket_pair()
            for one in self._sockets:
                one.setblocking(False)
        return self._sockets[0].fileno()

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """Mark the thread as asleep.

        Check for work inside this block before sleeping, because a `wake` before the block has no effect.
        """
        self._asleep = True
        try:
            yield
        finally:
            self._asleep = False

    def wake(self) -> None:
        if self._asleep and self._sockets:
            try:
                self._sockets[1].send(b"!")
            except OSError:
                return  # A wake-up is under way, or the sleeping thread has just ended.

    def clear(self) -> None:
        try:
            while self._sockets and self._sockets[0].recv(4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close the sockets. Call this in the thread that sleeps. `wake` must not be called afterwards."""
        for one in self._sockets or ():
            one.close()
