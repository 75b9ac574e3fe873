"""Rounds of asking: what was answered is written down, whatever the database does meanwhile."""

from collections.abc import Callable
from threading import Event

import pytest
from django.db import InterfaceError, InternalError, OperationalError

from payments import dispatcher
from payments.providers import Answer, Said

pytestmark = pytest.mark.django_db(transaction=True)
PENDING = Answer(Said.PENDING)


def claims(*turns: "list[int] | Exception") -> Callable[[int], list[int]]:
    left = list(turns)

    def claim(room: int) -> list[int]:
        turn = left.pop(0) if left else []
        if isinstance(turn, Exception):
            raise turn
        return turn

    return claim


class ReadOnly(InternalError):
    """As Django raises it from a server that has become a read-only standby."""

    sqlstate = "25006"


@pytest.mark.parametrize("error", [OperationalError, InterfaceError, ReadOnly])
def test_a_lost_database_takes_no_answer_along(error: type[Exception]) -> None:
    """Neither while the next are claimed, nor while one is written."""
    written: list[int] = []
    lost, slow = [True, True], Event()

    def ask(one: int) -> Answer:
        slow.wait(0.3)
        return PENDING

    def record(one: int, answer: Answer) -> None:
        if lost:
            lost.pop()
            raise error
        written.append(one)

    claim = claims([1, 2], error(), [3])
    assert dispatcher.run(claim, ask, record, lambda: False) == 3
    assert sorted(written) == [1, 2, 3]


def test_with_nothing_in_hand_a_lost_database_is_the_callers() -> None:
    with pytest.raises(OperationalError):
        dispatcher.run(claims(OperationalError()), lambda one: PENDING, lambda one, answer: None, lambda: False)


def test_an_error_of_ours_is_in_doubt(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Answer] = []

    def ask(one: int) -> Answer:
        raise RuntimeError("inside")

    dispatcher.run(claims([1]), ask, lambda one, answer: answers.append(answer), lambda: False)
    assert [answer.said for answer in answers] == [Said.IN_DOUBT]
    assert "inside" in caplog.text


def test_no_more_than_there_is_room_for() -> None:
    rooms: list[int] = []
    held = Event()
    left = [list(range(dispatcher.THREADS - 2)), []]

    def claim(room: int) -> list[int]:
        rooms.append(room)
        return left.pop(0) if left else held.set() or []  # type: ignore[func-returns-value]

    def ask(one: int) -> Answer:
        held.wait(5)
        return PENDING

    dispatcher.run(claim, ask, lambda one, answer: None, lambda: False)
    assert rooms[:2] == [dispatcher.THREADS, 2]
