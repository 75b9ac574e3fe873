"""`kill -9` of web processes under load: messages of committed changes are never lost."""

import json
import os
import signal
import subprocess
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.audit import AUDIT
from tests.conftest import Postgres, Sandbox, free_port, wait_for
from tests.preloaded import Process
from tests.system import System, postgres_database

ROOT = Path(__file__).parents[2]
# STAKES=1000 makes a longer test of some minutes.
STAKES = int(os.environ.get("STAKES", "80"))


class Load:
    """Players who stake, invite and pay without a pause, in several threads."""

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
            phone = f"078{lane}{number:06}"
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
                time.sleep(0.05)  # The site is down for a moment.

    def stop(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(15)


def serve(system: System, port: int) -> Process:
    return Process(
        # The workers are forks of a process that has imported the site. This halves the CPU of a start.
        ["-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--log-level", "critical", "--preload"],
        env=system.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(process: Process) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("delivery", ["inline", "worker"])
@pytest.mark.parametrize("paid", [False, True])
def test_every_committed_change_has_its_messages(
    postgres: Postgres, sandbox: Sandbox, delivery: str, paid: bool
) -> None:
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
            sent, placed = sandbox.sends, stored(system)
            server = serve(system, port)
            if delivery == "inline":
                wait_for(lambda enough=sent + 25: sandbox.sends >= enough, 30)
            else:
                wait_for(partial(reached, system, placed + 40), 30)
            kill(server)
    finally:
        load.stop()
    # Cron runs this command. It queues the message of a payment whose process crashed.
    system.manage("expire_queue")
    out = system.manage("shell", "-v0", "-c", AUDIT).stdout
    audit = json.loads(out[out.index("AUDIT") + 6 :])
    assert audit["missing"] == []
    assert audit["sessions"] >= 5

    def drained() -> bool:
        system.manage("sms_worker", "--once")
        return set(system.counts()) <= {"sent", "expired"}

    wait_for(drained, 60, every=2.0)
    # Each kill duplicates at most the requests in flight, one for each thread.
    texts = sandbox.counts()["texts"]
    assert texts["taken"] - texts["different"] <= 2 * 16


@pytest.mark.slow
@pytest.mark.parametrize("delivery", ["inline", "worker"])
def test_every_stake_is_requested_exactly_once(postgres: Postgres, sandbox: Sandbox, delivery: str) -> None:
    port = free_port()
    system = System(
        postgres_database(postgres),
        sandbox,
        SMS_DELIVERY=delivery,
        MOMO_AUTO_APPROVE="false",
        DMARK_PAY_BASE_URL=sandbox.url,
        DMARK_PAY_USERNAME="collector",
        DMARK_PAY_PASSWORD="collection-password-9152",
        DMARK_PAY_ACCOUNT_CODE="ACC-77",
        DMARK_PAY_TIMEOUT="2",
        SITE_URL=f"http://127.0.0.1:{port}",
        WEB_CONCURRENCY="2",
        INVITES_PER_ADDRESS_HOUR="100000",
        UNPAID_STAKES_PER_ADDRESS_HOUR="100000",
    )
    sandbox.faults(pay_latency_ms=30, phones_seconds=10**6)
    load = Load(f"http://127.0.0.1:{port}", paid=False)
    processes: list[Process] = []

    def begin() -> None:
        processes.append(serve(system, port))
        if delivery == "worker":
            processes.append(system.worker_of_money())

    def end() -> None:
        while processes:
            kill(processes.pop())

    kills = 0
    try:
        while stored(system) < STAKES or kills < 5:
            enough = stored(system) + STAKES // 5
            begin()
            wait_for(partial(reached, system, enough), 60)
            end()
            kills += 1
    finally:
        load.stop()
        end()
    assert kills >= 5
    # Requests that a killed process had begun are now ambiguous. Requests that it had not begun are now made.
    system.sql("UPDATE payments_payment SET start_at = start_at - interval '1 hour' WHERE collection = 'asking'")
    system.manage("expire_queue")
    states = dict(system.sql("SELECT transaction_id, collection FROM payments_payment"))
    asked = dict(sandbox.counts()["money"]["asked"]["payin"])
    assert set(states.values()) <= {"asked", "in_doubt"}
    assert set(asked.values()) == {1}
    assert set(asked) <= set(states)
    ambiguous = {name for name, state in states.items() if state == "in_doubt"}
    assert set(states) - ambiguous <= set(asked)
    # Each kill makes at most one request ambiguous for each thread of the site or the worker.
    assert len(ambiguous) <= kills * 2 * 16
    # The players pay. DMarkPay's notifications settle ambiguous requests that had arrived.
    begin()
    try:
        wait_for(lambda: _alive(port), 30)
        arrived = sorted(ambiguous & set(asked))[:20] + sorted(set(states) - ambiguous)[:5]
        for name in arrived:
            assert sandbox.tap(name, "pay") == 200
        places = ", ".join("?" * len(arrived))
        paid = f"SELECT count(*) FROM payments_payment WHERE status = 'SUCCESS' AND transaction_id IN ({places})"
        wait_for(lambda: system.sql(paid, *arrived) == [(len(arrived),)], 60)
    finally:
        end()
    assert set(sandbox.counts()["money"]["asked"]["payin"].values()) == {1}


def reached(system: System, count: int) -> bool:
    return stored(system) >= count


def stored(system: System) -> int:
    return int(system.sql("SELECT count(*) FROM payments_payment")[0][0])


def _alive(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/api/v1/config", timeout=1).ok
    except requests.RequestException:
        return False
