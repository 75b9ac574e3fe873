"""The worker's reaction to signals, and to exceptions in its threads."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

from sms import runtime
from sms.dmark import blocking
from sms.models import SmsMessage
from sms.outbox import queue_sms
from sms.signals import sms_sent
from sms.worker import background, maintenance, worker
from sms.worker.engine import loop
from sms.worker.worker import Options, ThreadEnded, Worker
from tests import preloaded
from tests.conftest import Sandbox, wait_for
from tests.system import System

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("name", ["SIGHUP", "SIGQUIT", "SIGINT"])
def test_each_signal_of_an_end_finishes_what_is_in_flight(on_postgres: System, name: str) -> None:
    """Before the fix, a SIGHUP killed the worker, and 40 of 40 messages in flight were sent twice."""
    on_postgres.sandbox.faults(latency_ms=600)
    on_postgres.queue(40)
    worker = on_postgres.worker("--in-flight", "40")
    wait_for(lambda: on_postgres.sandbox.sends == 40, 60)
    worker.send_signal(getattr(signal, name))
    assert worker.wait(30) == 0
    assert on_postgres.counts() == {"sent": 40}
    assert set(on_postgres.texts().values()) == {1}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_does_not_end_the_worker(on_postgres: System) -> None:
    on_postgres.queue(20)
    with Path("/dev/full").open("wb") as full:
        worker = on_postgres.worker(stdout=full)
        wait_for(lambda: on_postgres.counts() == {"sent": 20}, 60)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0


def run(worker: Worker, raised: list[BaseException]) -> threading.Thread:
    def target() -> None:
        try:
            worker.run()
        except BaseException as error:  # noqa: BLE001 - checked by the test
            raised.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=target)
    thread.start()
    return thread


def failing(times: int, error: Exception, real: Callable[..., Any]) -> Callable[..., Any]:
    left = [error] * times

    def call(*arguments: Any, **more: Any) -> Any:
        if left:
            raise left.pop()
        return real(*arguments, **more)

    return call


PLACES = [
    (worker, "beat"),
    (Worker, "_keep_leases"),
    (Worker, "_claim"),
    (Worker, "_offer"),
    (Worker, "_take_ended"),
    (Worker, "_next_turn"),
    (loop.Engine, "_pass"),
    (loop.Engine, "_collect"),
    (blocking, "token"),
    (background, "send_signals"),
    (maintenance, "run"),
]


@pytest.mark.parametrize("error", [ValueError("a defect"), OperationalError("gone")], ids=repr)
@pytest.mark.parametrize(("owner", "name"), PLACES, ids=lambda place: getattr(place, "__name__", place))
def test_no_exception_ends_a_thread(
    sandbox: Sandbox, settings: Any, monkeypatch: Any, owner: Any, name: str, error: Exception
) -> None:
    settings.SMS_DELIVERY = "worker"
    monkeypatch.setattr(owner, name, failing(1, error, getattr(owner, name)))
    received: list[int] = []

    def receiver(message: SmsMessage, **_: Any) -> None:
        received.append(message.pk)

    sms_sent.connect(receiver)
    raised: list[BaseException] = []
    worker = Worker(Options(poll=0.05, maintenance=0.1))
    thread = run(worker, raised)
    try:
        for number in range(5):
            queue_sms(f"07721234{number:02}", "x")
        wait_for(lambda: SmsMessage.objects.filter(status="sent").count() == 5, 30)
        assert all(one.is_alive() for one in worker._threads.values())
        queue_sms("0772123499", "x")
        wait_for(lambda: bool(received), 30)
    finally:
        worker.stop()
        thread.join(40)
        sms_sent.disconnect(receiver)
    assert raised == []


@pytest.mark.parametrize("name", ["sms-engine", "sms-tokens", "sms-maintenance", "sms-statement-timeout"])
def test_a_thread_that_ended_ends_the_process(sandbox: Sandbox, settings: Any, monkeypatch: Any, name: str) -> None:
    settings.SMS_DELIVERY = "worker"
    real = runtime.current.start

    class Ended:
        def is_alive(self) -> bool:
            return False

        def join(self, timeout: float | None = None) -> None: ...

    monkeypatch.setattr(
        runtime.current,
        "start",
        lambda target, called: Ended() if called == name else real(target, called),
    )
    raised: list[BaseException] = []
    thread = run(Worker(Options(poll=0.05)), raised)
    thread.join(40)
    assert [type(error) for error in raised] == [ThreadEnded]


def test_a_thread_that_ended_is_exit_1(on_postgres: System) -> None:
    code = """
import sys, django
django.setup()
from sms.worker.engine.tokens import TokenQueue
TokenQueue._run = lambda *_: None
sys.argv = ['manage.py', 'sms_worker', '--poll', '0.1']
import manage
manage.main()
"""
    ended = preloaded.run(["-c", code], env=on_postgres.environment)
    assert ended.returncode == 1
    assert "access tokens has ended" in ended.stderr


def test_signals_of_a_batch_after_one_that_fails_are_sent(monkeypatch: Any) -> None:
    sent: list[object] = []

    def send(signals: list[Any]) -> None:
        sent.append(signals)
        if len(sent) == 1:
            raise ValueError("a defect")

    monkeypatch.setattr(background, "send_signals", send)
    sender = background.SignalSender()
    sender.send([])
    sender.send([])
    assert sender.finish(10)
    assert (len(sent), sender.behind()) == (2, 0.0)
