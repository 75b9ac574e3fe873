"""requests, with a read time-out that is the whole answer's: as it is, each byte that comes begins it anew.

`sms` has the like for DMark; each of the two apps can be used without the other.
"""

import http.client
import io
import socket
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class _UntilThen(io.RawIOBase):
    """The bytes of a socket's file; each wait for more ends by the same moment. Raises TimeoutError then."""

    def __init__(self, file: io.RawIOBase, sock: socket.socket, seconds: float) -> None:
        self._file, self._sock, self._end = file, sock, time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> "int | None":
        # Nought would mean not to wait at all, and to say so by another error.
        self._sock.settimeout(max(0.001, self._end - time.monotonic()))
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **more: Any) -> None:
        super().__init__(sock, *arguments, **more)
        if seconds := sock.gettimeout():
            self.fp = io.BufferedReader(_UntilThen(self.fp.detach(), sock, seconds))


class _Plain(HTTPConnection):
    response_class = _Answer


class _Secure(HTTPSConnection):
    response_class = _Answer


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        super().init_poolmanager(*arguments, **more)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}


def session() -> requests.Session:
    """Give each request a read time-out: it begins when the request is written."""
    made = requests.Session()
    made.mount("http://", _Adapter())
    made.mount("https://", _Adapter())
    return made
