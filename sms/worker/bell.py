"""Waking a thread that sleeps in `select`, for less than a system call when it does not sleep."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


class Bell:
    """Rung from any thread or signal handler; registered with a selector by the one that sleeps."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._asleep = False

    def fileno(self) -> int:
        return self._reader.fileno()

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """Round the sleep. What it must not miss is looked at again inside: a ring before that is not heard."""
        self._asleep = True
        try:
            yield
        finally:
            self._asleep = False

    def ring(self) -> None:
        if self._asleep:
            try:
                self._writer.send(b"!")
            except BlockingIOError:
                return  # it rings already

    def clear(self) -> None:
        try:
            while self._reader.recv(4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """By the thread that slept; nobody rings after that."""
        self._reader.close()
        self._writer.close()
