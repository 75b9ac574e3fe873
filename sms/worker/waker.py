"""Wake a thread that sleeps in `select`. It costs less than a system call if the thread does not sleep."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from sms import runtime


class Waker:
    """Registered with a selector by the thread that sleeps; woken from any thread or signal handler."""

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
        """Enclose the sleep. Check inside for work that came before: a call of `wake` before this has no effect."""
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
                return  # a wake-up is under way, or the sleeper has just ended

    def clear(self) -> None:
        try:
            while self._sockets and self._sockets[0].recv(4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Call it in the thread that slept; `wake` must not be called after that."""
        for one in self._sockets or ():
            one.close()
