"""What a conversation asks of its driver, and what it is told."""

from collections.abc import Generator
from typing import NamedTuple

from sms.dmark.answers import Reply


class Request(NamedTuple):
    step: str
    url: str
    payload: bytes
    token: str


class Pause(NamedTuple):
    seconds: float


class NeedToken(NamedTuple):
    rejected: str


class Lost(Exception):
    def __init__(self, written: bool, late: bool, cause: str, ms: int) -> None:
        super().__init__(cause)
        self.written, self.late, self.cause, self.ms = written, late, cause, ms


Conversation = Generator[Request | Pause | NeedToken, Reply | str | None, str]
