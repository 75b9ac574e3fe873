"""Periodic tasks of a running worker: its heartbeat, missing reports, expired links."""

import json
from typing import Any

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
LOOK = """
import json
from sms.models import SmsMessage, SmsWorker
print("LOOK", json.dumps({
    "status": sorted(SmsMessage.objects.values_list("status", flat=True)),
    "links": SmsMessage.objects.filter(text__contains="pt=live").count(),
    "workers": list(SmsWorker.objects.values("name", "sent", "paused")),
}))
"""


def look(system: System) -> dict[str, Any]:
    out = system.manage("shell", "-v0", "-c", LOOK).stdout
    return dict(json.loads(out[out.index("LOOK") + 5 :]))


def test_a_worker_keeps_house(system: System, sandbox: Sandbox) -> None:
    sandbox.faults(report="never")
    system.queue(3)
    worker = system.worker("--maintenance", "0.5")
    wait_for(lambda: system.counts()["sent"] == 3, 30)
    for received in sandbox.server.state.messages:
        received.status = "DELIVERED"
    system.manage("shell", "-v0", "-c", OLDER)
    wait_for(lambda: look(system)["status"] == ["delivered"] * 3 + ["failed"], 30)
    wait_for(lambda: look(system)["links"] == 0, 30)
    (alive,) = wait_for(lambda: [one for one in look(system)["workers"] if one["sent"] == 3], 30)
    assert str(worker.pid) in alive["name"]
    assert alive["paused"] == ""
    worker.terminate()
    assert worker.wait(30) == 0
    assert look(system)["workers"] == []


def test_a_paused_worker_says_why(system: System, sandbox: Sandbox) -> None:
    sandbox.faults(token="401")
    system.queue(1)
    system.worker()
    paused = wait_for(lambda: [one["paused"] for one in look(system)["workers"] if one["paused"]], 30)
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
