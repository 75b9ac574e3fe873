"""Wake a thread that sleeps in `select`.

If the thread is not asleep, waking it makes no system call.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from sms import runtime


class Waker:
    """Wakes a sleeping thread through a socket pair.

    The sleeping thread registers the waker with its selector. Any thread may call `wake`.
    """

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
        """Mark the thread as asleep in this block.

        Check for work inside the block before sleeping. A `wake` that comes before the block has no effect.
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
                return  # Either a wake-up is already pending, or the sleeping thread has just ended.

    def clear(self) -> None:
        try:
            while self._sockets and self._sockets[0].recv(4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close the sockets. Call this in the thread that sleeps, and do not call `wake` afterwards."""
        for one in self._sockets or ():
            one.close()
