"""`kill -9` of the web process under load: what was committed has its texts, whatever was under way."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Postgres, Sandbox, free_port, wait_for
from tests.system import System, postgres_database

ROOT = Path(__file__).parents[2]

# For each committed session two match texts or payment texts, for each invite one, for each payment that moved one.
AUDIT = """
import json
from django.db.models import Count
from game.models import Entry, Session
from payments.models import Payment
from sms.models import SmsMessage
keys = set(SmsMessage.objects.values_list("dedupe_key", flat=True))
missing = []
sessions = 0
for session in Session.objects.prefetch_related("entries"):
    sessions += 1
    for entry in session.entries.all():
        told = f"session:{session.pk}:{entry.player_id}" in keys
        paid = f"payment:{entry.payment_id}:success" in keys
        if not told and not paid:
            missing.append(f"session {session.pk} entry {entry.pk}")
for entry in Entry.objects.exclude(invite_phone="").exclude(opened_at=None):
    if entry.invite_key not in keys:
        missing.append(f"invite of {entry.pk}")
for payment in Payment.objects.exclude(status="PENDING"):
    if payment.callbacks.filter(applied=True).exists() and f"payment:{payment.pk}:{payment.status.lower()}" not in keys:
        missing.append(f"payment {payment.pk}")
print("AUDIT", json.dumps({"sessions": sessions, "texts": len(keys), "missing": missing}))
"""


class Load:
    """Players who stake, invite and pay without a pause, from a few threads."""

    def __init__(self, site: str, paid: bool) -> None:
        self.site, self.paid = site, paid
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(4)]
        for thread in self.threads:
            thread.start()

    def _run(self, lane: int) -> None:
        number = 0
        while not self.stopping.is_set():
            number += 1
            phone = f"077{lane}{number:06}"
            body: dict[str, Any] = {"phone_number": phone, "stake_amount": 1000}
            if number % 3 == 0:
                body |= {"stake_amount": 2000, "create_private": True, "invite_phone": f"076{lane}{number:06}"}
            try:
                placed = requests.post(f"{self.site}/api/v1/game/stake", json=body, timeout=5).json()
                if self.paid:
                    requests.post(
                        f"{self.site}/api/v1/momo/callback",
                        json={
                            "transaction_id": placed["transaction_id"],
                            "phone_number": phone,
                            "amount": body["stake_amount"],
                            "status": "SUCCESS",
                        },
                        headers={"X-Callback-Secret": "s3cret"},
                        timeout=5,
                    )
            except (requests.RequestException, KeyError, ValueError):
                time.sleep(0.05)  # the site is dead for the moment

    def stop(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(15)


@pytest.mark.parametrize("delivery", ["inline", "worker"])
@pytest.mark.parametrize("paid", [False, True])
def test_every_committed_change_has_its_texts(postgres: Postgres, sandbox: Sandbox, delivery: str, paid: bool) -> None:
    system = System(postgres_database(postgres), sandbox)
    system.environment |= {
        "SMS_DELIVERY": delivery,
        "SMS_LEASE_SECONDS": "1",
        "SMS_CONNECT_TIMEOUT": "0.3",
        "SMS_READ_TIMEOUT": "0.3",
        "MOMO_AUTO_APPROVE": "false" if paid else "true",
        "MOMO_CALLBACK_SECRET": "s3cret",
        "WEB_CONCURRENCY": "2",
        "INVITES_PER_ADDRESS_HOUR": "100000",
    }
    sandbox.faults(latency_ms=10)
    port = free_port()
    load = Load(f"http://127.0.0.1:{port}", paid)
    try:
        for _ in range(2):
            before = sandbox.sends
            server = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--log-level", "critical"],
                cwd=ROOT,
                env=system.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            if delivery == "inline":
                wait_for(lambda reached=before + 40: sandbox.sends >= reached, 30)
            else:
                wait_for(lambda: _alive(port), 30)
                time.sleep(2)
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    finally:
        load.stop()
    # A payment whose text a crash kept back would be told by this, as cron does.
    system.manage("expire_queue")
    out = system.manage("shell", "-v0", "-c", AUDIT).stdout
    audit = json.loads(out[out.index("AUDIT") + 6 :])
    assert audit["missing"] == []
    assert audit["sessions"] >= 5

    def drained() -> bool:
        system.manage("sms_worker", "--once")
        return set(system.counts()) <= {"sent", "expired"}

    wait_for(drained, 60, every=1.0)
    # Twice at most what one kill can leave in flight: a request in each of the threads.
    doubles = Counter((item["to"], item["text"]) for item in sandbox.inbox())
    assert sum(doubles.values()) - len(doubles) <= 2 * 8


def _alive(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/api/v1/config", timeout=1).ok
    except requests.RequestException:
        return False
