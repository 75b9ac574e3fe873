"""Periodic tasks of a running worker: its heartbeat, missing delivery reports, expired links."""

import pytest

from tests.conftest import Sandbox, wait_for
from tests.system import System

OLDER = """
from datetime import timedelta
from django.utils import timezone
from sms.models import SmsMessage
then = timezone.now() - timedelta(minutes=5)
SmsMessage.objects.filter(status="sent").update(sent_at=then)
over = SmsMessage.objects.create(phone="+256772123456", text="Play: http://x/g/t?pt=live", status="failed",
    holds_link=True, expires_at=then)
"""
STATUSES = "SELECT status FROM sms_smsmessage ORDER BY status"
LINKS = "SELECT count(*) FROM sms_smsmessage WHERE text LIKE ?"
WORKERS = "SELECT name, sent, paused FROM sms_smsworker"


def test_a_worker_keeps_house(system: System, sandbox: Sandbox) -> None:
    sandbox.faults(report="never")
    system.queue(3)
    worker = system.worker("--maintenance", "0.5")
    wait_for(lambda: system.counts()["sent"] == 3, 30)
    for received in sandbox.server.state.messages:
        received.status = "DELIVERED"
    system.manage("shell", "-v0", "-c", OLDER)
    wait_for(lambda: system.sql(STATUSES) == [("delivered",)] * 3 + [("failed",)], 30)
    wait_for(lambda: system.sql(LINKS, "%pt=live%") == [(0,)], 30)
    ((name, _, paused),) = wait_for(lambda: [row for row in system.sql(WORKERS) if row[1] == 3], 30)
    assert str(worker.pid) in name
    assert paused == ""
    worker.terminate()
    assert worker.wait(30) == 0
    assert system.sql(WORKERS) == []


def test_a_paused_worker_says_why(system: System, sandbox: Sandbox) -> None:
    sandbox.faults(token="401")
    system.queue(1)
    system.worker()
    paused = wait_for(lambda: [row[2] for row in system.sql(WORKERS) if row[2]], 30)
    assert "DMark refuses the credentials" in paused[0]


@pytest.mark.parametrize("fault", ["503", "401"])
def test_a_provider_that_gives_no_reports_does_not_hinder_sending(
    system: System,
    sandbox: Sandbox,
    fault: str,
) -> None:
    sandbox.faults(report="never")
    system.queue(2)
    system.worker("--maintenance", "0.2")
    wait_for(lambda: system.counts()["sent"] == 2, 30)
    sandbox.faults(dlr=fault)
    system.manage("shell", "-v0", "-c", OLDER)
    wait_for(lambda: sandbox.asked("/v3/api/dlr/") > 0, 30)
    system.queue(5, start=10)
    wait_for(lambda: system.counts()["sent"] == 7, 30)
