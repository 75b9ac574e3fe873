"""The worker's database row: messages in flight, the one that takes longest, and the delay of signal receivers."""

import threading
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from sms import clock
from sms.models import SmsMessage, SmsWorker
from sms.outbox import queue_sms
from sms.signals import sms_sent
from sms.worker.recorder import beat
from sms.worker.worker import Options, Worker
from tests.conftest import Sandbox, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


def run(worker: Worker) -> threading.Thread:
    def target() -> None:
        try:
            worker.run()
        finally:
            connection.close()

    thread = threading.Thread(target=target)
    thread.start()
    return thread


def test_what_is_in_flight_is_on_the_overview(
    sandbox: Sandbox, settings: Any, monkeypatch: Any, admin_client: Client
) -> None:
    settings.SMS_DELIVERY = "worker"
    monkeypatch.setattr("sms.stats.status.BEAT_SECONDS", 0.2)
    settings.SMS_READ_TIMEOUT = 5.0
    sandbox.faults(send="hang", hang_seconds=3)
    queue_sms("0772123456", "x")
    worker = Worker(Options(poll=0.1))
    thread = run(worker)
    try:
        wait_for(lambda: SmsWorker.objects.filter(in_flight=1, longest_step="send: no answer yet").exists(), 20)
        assert SmsWorker.objects.get().longest_since
        assert "1 in flight, the longest for" in admin_client.get("/admin/sms/").content.decode()
    finally:
        sandbox.faults(send="ok")
        worker.stop()
        thread.join(30)


def test_a_receiver_that_hangs_delays_no_message_and_is_reported(
    sandbox: Sandbox, settings: Any, monkeypatch: Any
) -> None:
    """Before the fix, such a receiver stopped all sending after 200 batches, and check_sending reported no problem."""
    settings.SMS_DELIVERY = "worker"
    monkeypatch.setattr("sms.stats.status.BEAT_SECONDS", 0.2)
    go_on = threading.Event()

    def hang(message: SmsMessage, **_: Any) -> None:
        go_on.wait(60)

    sms_sent.connect(hang)
    worker = Worker(Options(poll=0.1, batch=1))
    thread = run(worker)
    try:
        for number in range(30):
            queue_sms(f"07721234{number:02}", "x")
        wait_for(lambda: SmsMessage.objects.filter(status="sent").count() == 30, 30)
        wait_for(lambda: SmsWorker.objects.filter(receivers_behind__gt=0).exists(), 20)
    finally:
        go_on.set()
        worker.stop()
        thread.join(30)
        sms_sent.disconnect(hang)


def test_check_sending_names_receivers_that_hang(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    beat("me", clock.now(), receivers_behind=3600)
    with pytest.raises(CommandError, match="A receiver of sms_sent or sms_failed has been running for 1 h"):
        call_command("check_sending")
