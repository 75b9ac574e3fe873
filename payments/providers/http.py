"""One request to a provider of money, and what is sure of it when no answer comes."""

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import requests
import urllib3

from payments.providers import whole_answer

MAX_BODY = 64 * 1024


class NeverLeft(Exception):
    """The request was surely not written."""


class NoAnswer(Exception):
    """The request was written, and not answered in full."""


def request(
    who: str,
    method: str,
    url: str,
    timeouts: tuple[float, float],
    headers: dict[str, str] | None = None,
    **more: Any,
) -> tuple[int, bytes]:
    """HTTP's status and the body. `timeouts` in seconds: to connect, to answer in full. Raises NeverLeft or NoAnswer.

    Over a connection of its own: on one that was kept, an answer that fails to come could be one to a request that the
    other end never read, and nobody could tell.
    """
    with whole_answer.session() as session:
        session.trust_env = False
        session.headers.update({"Accept": "application/json", "Accept-Encoding": "identity", "Connection": "close"})
        session.headers["User-Agent"] = "playmatatu-payments"
        try:
            response = session.request(
                method,
                url,
                headers=headers,
                timeout=timeouts,
                allow_redirects=False,
                stream=True,
                **more,
            )
            return response.status_code, b"".join(_chunks(response))
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if _never_left(error):
                raise NeverLeft(f"{who} cannot be reached ({_name(error)}).") from None
            raise NoAnswer(f"{who} did not answer in full ({_name(error)}).") from None


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """The body to a bound in bytes. Raises OSError where it passes it."""
    left = MAX_BODY
    while chunk := response.raw.read1(16 * 1024, decode_content=True):
        left -= len(chunk)
        if left < 0:
            raise OSError("an answer that is too large")
        yield chunk


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what is behind it, however it was wrapped."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        waiting += [cause for cause in inner if isinstance(cause, BaseException)]


_BEFORE_WRITING = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
    urllib3.exceptions.NewConnectionError,  # refused, unreachable, an unknown host
    urllib3.exceptions.ConnectTimeoutError,
    ssl.SSLCertVerificationError,
    socket.gaierror,
)


def _never_left(error: BaseException) -> bool:
    return any(isinstance(cause, _BEFORE_WRITING) for cause in _causes(error))


def _name(error: BaseException) -> str:
    """The innermost cause that says most; never its text, which may hold an address with a token."""
    return type(list(_causes(error))[-1]).__name__
