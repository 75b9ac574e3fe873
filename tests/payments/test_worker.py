"""The worker's threads survive every exception; if one ends all the same, the process ends with 1."""

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import InternalError, OperationalError

from game import maintenance
from game.worker import Worker
from payments import worker as payments_worker
from payments.worker import Loop, Outage
from tests.servers import wait_for

pytestmark = pytest.mark.django_db(transaction=True)


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
    monkeypatch.setattr(payments_worker, "_PAUSE_AFTER_ERROR", 0.01)
    done: list[int] = []
    loop = Loop(
        "loop", failing([error, error], done), Outage(logging.getLogger("payments"), "x.lost", "x.back"), "x.failed"
    )
    loop.start()
    wait_for(lambda: len(done) >= 2, 5)
    assert not loop.is_dead
    assert payments_worker.stop_all([loop], 5)
    events = {getattr(record, "event", "") for record in caplog.records}
    assert ("x.lost" in events) == isinstance(error, OperationalError | InternalError)
    assert ("x.failed" in events) != isinstance(error, OperationalError | InternalError)


def test_every_thread_of_the_worker_survives_an_error_of_its_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each part raises once; the worker goes on with all of its threads."""
    monkeypatch.setattr(payments_worker, "_PAUSE_AFTER_ERROR", 0.01)
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
    assert payments_worker.stop_all(loops, 5)
    assert caplog.text.count("trying again") == len(loops)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_is_dead_ends_the_process(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(0.05, lambda line: None, tasks=())
    worker.payments[0].turn = failing([SystemExit(3)], [])
    began = time.monotonic()
    assert worker.run() is False
    assert time.monotonic() - began < 20
    assert "has ended" in caplog.text
