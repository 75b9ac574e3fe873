"""The worker's threads survive every exception. If a thread ends anyway, the process exits with status 1."""

import logging
import time
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from django.db import InterfaceError, InternalError, OperationalError

from game import maintenance
from game.worker import Worker
from payments import worker as worker_threads
from payments.providers import Answer, Said
from payments.worker import Loop, Outage
from tests.servers import wait_for

pytestmark = pytest.mark.django_db(transaction=True)
PENDING = Answer(Said.PENDING)


class ReadOnly(InternalError):
    sqlstate = "25006"


def failing(errors: list[BaseException], done: list[int]) -> Callable[[], float]:
    def turn() -> float:
        if errors:
            raise errors.pop(0)
        done.append(1)
        return 0.01

    return turn


@pytest.mark.parametrize("error", [OperationalError("x"), ReadOnly("x"), ValueError("x"), MemoryError()])
def test_a_loop_survives_any_exception(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_threads, "_PAUSE_AFTER_ERROR", 0.01)
    done: list[int] = []
    loop = Loop(
        "loop", failing([error, error], done), Outage(logging.getLogger("payments"), "x.lost", "x.back"), "x.failed"
    )
    loop.start()
    wait_for(lambda: len(done) >= 2, 5)
    assert not loop.is_dead
    assert worker_threads.stop_all([loop], 5)
    events = {getattr(record, "event", "") for record in caplog.records}
    assert ("x.lost" in events) == isinstance(error, OperationalError | InternalError)
    assert ("x.failed" in events) != isinstance(error, OperationalError | InternalError)


def test_every_thread_of_the_worker_survives_an_error_of_its_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each part raises one exception, and all threads of the worker continue."""
    monkeypatch.setattr(worker_threads, "_PAUSE_AFTER_ERROR", 0.01)
    worker = Worker(0.05, lambda line: None, tasks=(maintenance.Task("x", lambda: maintenance.Done(0), 0.01),))
    loops = worker.loops
    turns: dict[str, Any] = {}
    for loop in loops:
        errors: list[BaseException] = [KeyError(loop.thread.name)]
        turns[loop.thread.name] = done = list[int]()
        loop.turn = failing(errors, done)
        loop.start()
    wait_for(lambda: all(turns.values()), 5)
    assert not [loop for loop in loops if loop.is_dead]
    assert worker_threads.stop_all(loops, 5)
    assert caplog.text.count("trying again") == len(loops)


@pytest.mark.django_db(transaction=True)
def test_a_failed_task_runs_again_after_seconds(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[maintenance.Done | ValueError]
    answers = [ValueError(), maintenance.Done(1, 1), *[ValueError()] * 4, maintenance.Done(0), ValueError()]

    def run() -> maintenance.Done:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    task = maintenance.Task("x", run, 3.0)
    worker = Worker(0.05, lambda line: None, tasks=(task,))
    assert [worker._do(task) for _ in range(8)] == [3, 4, 8, 16, 30, 30, 3, 3]
    assert caplog.text.count("The periodic task x failed") == 6


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_is_dead_ends_the_process(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(0.05, lambda line: None, tasks=())
    worker.payments[0].turn = failing([SystemExit(3)], [])
    began = time.monotonic()
    assert worker.run() is False
    assert time.monotonic() - began < 20
    assert "has ended" in caplog.text


# Requests run in parallel. Each answer is recorded, even if the database is lost in between.


def claims(*turns: "list[int] | Exception") -> Callable[[int], list[int]]:
    left = list(turns)

    def claim(room: int) -> list[int]:
        turn = left.pop(0) if left else []
        if isinstance(turn, Exception):
            raise turn
        return turn

    return claim


@pytest.mark.parametrize("error", [OperationalError, InterfaceError, ReadOnly])
def test_a_lost_database_takes_no_answer_along(error: type[Exception]) -> None:
    """No answer is lost if the database is lost during the next claim or while an answer is recorded."""
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
    assert worker_threads.run(claim, ask, record, lambda: False) == 3
    assert sorted(written) == [1, 2, 3]


def test_with_nothing_in_hand_a_lost_database_is_the_callers() -> None:
    with pytest.raises(OperationalError):
        worker_threads.run(claims(OperationalError()), lambda one: PENDING, lambda one, answer: None, lambda: False)


def test_an_error_of_ours_is_in_doubt(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Answer] = []

    def ask(one: int) -> Answer:
        raise RuntimeError("inside")

    worker_threads.run(claims([1]), ask, lambda one, answer: answers.append(answer), lambda: False)
    assert [answer.said for answer in answers] == [Said.IN_DOUBT]
    assert "inside" in caplog.text


def test_no_more_than_there_is_room_for() -> None:
    rooms: list[int] = []
    held = Event()
    left = [list(range(worker_threads.THREADS - 2)), []]

    def claim(room: int) -> list[int]:
        rooms.append(room)
        return left.pop(0) if left else held.set() or []  # type: ignore[func-returns-value]

    def ask(one: int) -> Answer:
        held.wait(5)
        return PENDING

    worker_threads.run(claim, ask, lambda one, answer: None, lambda: False)
    assert rooms[:2] == [worker_threads.THREADS, 2]


def test_an_answer_that_waits_for_the_database_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    claimed, recorded = ["first"], list[str]()
    errors = [OperationalError("x")] * 3

    def record(one: str, answer: Answer) -> None:
        if errors:
            raise errors.pop()
        recorded.append(one)

    def claim(limit: int) -> list[str]:
        return [claimed.pop()] if claimed else []

    assert worker_threads.run(claim, lambda one: PENDING, record, lambda: False) == 1
    assert recorded == ["first"]
    assert [getattr(record, "event", "") for record in caplog.records].count("payments.database_lost") == 1
