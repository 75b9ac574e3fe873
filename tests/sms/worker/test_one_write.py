"""Test that many log lines are written with one write."""

import io
import logging
from collections.abc import Iterator

import pytest

from sms.worker.recorder import one_write


class Stream(io.StringIO):
    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError("no space left")


@pytest.fixture(autouse=True)
def no_handlers() -> Iterator[None]:
    yield
    for name in ("tests.gather", "tests.gather.each", "tests.full"):
        logging.getLogger(name).handlers.clear()


def test_lines_are_written_at_once_and_in_order() -> None:
    parent, logger = logging.getLogger("tests.gather"), logging.getLogger("tests.gather.each")
    parent.propagate = False
    outer, inner = Stream(), Stream()
    parent.addHandler(logging.StreamHandler(outer))
    logger.addHandler(logging.StreamHandler(inner))
    with one_write(logger):
        for number in range(3):
            logger.warning("line %d", number)
        assert outer.getvalue() == inner.getvalue() == ""
    logger.warning("after")
    assert outer.getvalue() == inner.getvalue() == "line 0\nline 1\nline 2\nafter\n"
    assert outer.writes == inner.writes == 2


def test_what_cannot_be_written_stops_nothing() -> None:
    logger = logging.getLogger("tests.full")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(Full()))
    with one_write(logger):
        logger.warning("lost")
    with one_write(logger):
        pass
