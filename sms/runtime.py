"""Threads, sleep and wake-up sockets for the packages `sms.worker`, `sms.sending` and `sms.dmark`.

In the tests, `tests/simulation` replaces `current` and runs each thread as a greenlet in simulated time.
"""

import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol


class Thread(Protocol):
    def join(self, timeout: float | None = None) -> None: ...

    def is_alive(self) -> bool: ...


class Runtime:
    """Functions to sleep, and to create threads, events, queues, locks, futures, selectors and socket pairs."""

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def start(self, target: Callable[[], object], name: str) -> Thread:
        """Start a daemon thread that runs `target`."""
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread

    def event(self) -> threading.Event:
        return threading.Event()

    def queue(self) -> "queue.SimpleQueue[Any]":
        return queue.SimpleQueue()

    def lock(self) -> Any:
        return threading.Lock()

    def future(self) -> "Future[Any]":
        return Future()

    def selector(self) -> selectors.BaseSelector:
        return selectors.DefaultSelector()

    def socket_pair(self) -> tuple[socket.socket, socket.socket]:
        return socket.socketpair()


current = Runtime()
