"""Waking a thread that sleeps in `select`, for less than a system call when it does not sleep."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


class Waker:
    """Rung from any thread or signal handler; registered with a selector by the one that sleeps."""

    def __init__(self) -> None:
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        self._asleep = False

    def fileno(self) -> int:
        if self._sockets is None:
            self._sockets = socket.socketpair()
            for one in self._sockets:
                one.setblocking(False)
        return self._sockets[0].fileno()

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """Round the sleep. What it must not miss is looked at again inside: a ring before that is not heard."""
        self._asleep = True
        try:
            yield
        finally:
            self._asleep = False

    def ring(self) -> None:
        if self._asleep and self._sockets:
            try:
                self._sockets[1].send(b"!")
            except BlockingIOError:
                return  # it rings already

    def clear(self) -> None:
        try:
            while self._sockets and self._sockets[0].recv(4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """By the thread that slept; nobody rings after that."""
        for one in self._sockets or ():
            one.close()
