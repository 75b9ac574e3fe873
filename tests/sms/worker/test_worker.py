"""The worker as a process of its own: drained, killed, stopped, and with each part failing under it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sms.models import SmsMessage
from sms.outbox import queue_sms
from sms.sending.claims import claim
from sms.worker.worker import Options, Worker
from tests.conftest import Postgres, RedisServer, Sandbox, wait_for

ROOT = Path(__file__).parents[3]
IN_FLIGHT, UNWRITTEN = 64, 50

QUEUE = """
from datetime import timedelta
from django.db import transaction
from django.utils import timezone
from sms.outbox import queue_sms
with transaction.atomic():
    for number in range({count}):
        queue_sms(f"0772{{number + {start}:06}}", f"text {{number + {start}}}",
            expires_at=timezone.now() + timedelta(seconds={life}))
"""
COUNT = """
import collections, json
from sms.models import SmsMessage
print("COUNT", json.dumps(collections.Counter(SmsMessage.objects.values_list("status", flat=True))))
"""


class System:
    """A database, the sandbox, and the workers on them."""

    def __init__(self, database: str, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "playmatatu.settings",
            "DEBUG": "true",
            "SECRET_KEY": "k" * 50,
            "DATABASE_URL": database,
            "SMS_SERVICE_BASE_URL": sandbox.url,
            "SMS_SERVICE_USERNAME": "u",
            "SMS_SERVICE_PASSWORD": "p",
            "SMS_RATE_LIMIT_SECONDS": "0",
            "SMS_DELIVERY": "worker",
            "SMS_LEASE_SECONDS": "2",
            "SMS_CONNECT_TIMEOUT": "1",
            "SMS_READ_TIMEOUT": "2",
            "LOG_LEVEL": "WARNING",
        }
        self.workers: list[subprocess.Popen[bytes]] = []
        self.manage("migrate", "-v0")

    def manage(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=check,
        )

    def queue(self, count: int, start: int = 0, life: float = 3600) -> None:
        self.manage("shell", "-v0", "-c", QUEUE.format(count=count, start=start, life=life))

    def counts(self) -> Counter[str]:
        out = self.manage("shell", "-v0", "-c", COUNT).stdout
        return Counter(json.loads(out[out.index("COUNT") + 6 :]))

    def worker(self, *arguments: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "manage.py", "sms_worker", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
        )
        self.workers.append(process)
        return process

    def texts(self) -> Counter[str]:
        return Counter(item["text"] for item in self.sandbox.inbox())


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: Any, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'worker.sqlite3'}"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.create_database(f"worker_{time.time_ns()}")


@pytest.fixture
def system(database: str, sandbox: Sandbox) -> Iterator[System]:
    system = System(database, sandbox)
    yield system
    for process in system.workers:
        process.kill()
        process.wait()


def test_once(system: System) -> None:
    system.queue(150)
    system.queue(1, start=900, life=-1)
    done = system.manage("sms_worker", "--once")
    assert "done" in done.stdout
    assert system.counts() == {"sent": 150, "expired": 1}
    assert set(system.texts().values()) == {1}


def test_kill_9_loses_nothing(system: System) -> None:
    system.sandbox.faults(latency_ms=40)
    system.queue(1000)
    kills = 3
    for kill in range(1, kills + 1):
        worker = system.worker()
        wait_for(lambda reached=kill * 200: len(system.texts()) >= reached, 60)
        worker.kill()
        worker.wait()
    system.worker()
    wait_for(lambda: len(system.texts()) == 1000, 60)
    wait_for(lambda: system.counts() == {"sent": 1000}, 30, every=0.5)
    doubles = sum(system.texts().values()) - 1000
    assert doubles <= kills * (IN_FLIGHT + UNWRITTEN)


def test_sigterm_ends_what_is_in_flight_and_doubles_nothing(system: System) -> None:
    system.sandbox.faults(latency_ms=100)
    system.queue(600)
    worker = system.worker()
    wait_for(lambda: len(system.texts()) >= 100, 30)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    counts = system.counts()
    assert counts["sending"] == 0
    assert counts["sent"] + counts["queued"] == 600
    assert counts["sent"] == len(system.texts())
    assert set(system.texts().values()) == {1}


def test_sigterm_while_the_provider_hangs(system: System) -> None:
    system.sandbox.faults(send="hang", hang_seconds=8)
    system.queue(20)
    worker = system.worker()
    wait_for(lambda: system.sandbox.sends > 0)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert system.counts()["sending"] == 0


def test_two_workers_share_the_table(system: System) -> None:
    system.sandbox.faults(latency_ms=20)
    system.queue(400)
    system.worker()
    system.worker()
    wait_for(lambda: len(system.texts()) == 400, 60)
    assert set(system.texts().values()) == {1}


def test_a_provider_that_is_down_is_not_hammered_and_comes_back(system: System) -> None:
    system.sandbox.faults(send="503")
    system.queue(300)
    system.worker()
    wait_for(lambda: system.sandbox.sends > 60)
    time.sleep(4)
    # Every text in flight when it closed had three tries; after that there are only probes.
    assert system.sandbox.sends <= 3 * (IN_FLIGHT + 40)
    assert system.counts()["queued"] + system.counts()["sending"] == 300
    system.sandbox.faults(send="ok")
    wait_for(lambda: len(system.texts()) == 300, 60)
    assert set(system.texts().values()) == {1}


def test_refused_credentials_do_not_burn_the_queue(system: System) -> None:
    system.sandbox.faults(token="401")
    system.queue(200)
    system.worker()
    wait_for(lambda: system.sandbox.token_requests >= 2, 20)
    assert system.sandbox.token_requests < 80
    wait_for(lambda: system.counts() == {"queued": 200}, 10, every=0.3)
    assert system.sandbox.sends == 0
    once = system.manage("sms_worker", "--once", check=False)
    assert once.returncode == 1
    assert "credentials" in once.stderr
    system.sandbox.faults(token="ok")
    wait_for(lambda: len(system.texts()) == 200, 40)


def test_expired_while_it_waited(system: System) -> None:
    system.sandbox.faults(send="503")
    system.queue(2, life=4)
    system.worker()
    wait_for(lambda: system.counts() == {"expired": 2}, 30, every=0.5)
    system.sandbox.faults(send="ok")
    assert system.texts() == {}


@pytest.mark.parametrize("cache", ["local memory", "redis"])
def test_the_rate_limit_holds_back_and_loses_nothing(
    tmp_path: Path, sandbox: Sandbox, redis_server: RedisServer, cache: str
) -> None:
    system = System(f"sqlite:///{tmp_path / 'worker.sqlite3'}", sandbox)
    system.environment |= {"SMS_RATE_LIMIT_SECONDS": "3"}
    if cache == "redis":
        system.environment["REDIS_URL"] = redis_server.url
    for _ in range(2):
        system.queue(20)  # the same twenty numbers
    system.manage("sms_worker", "--once")
    assert set(system.texts().values()) == {1}
    assert system.counts() == {"sent": 20, "queued": 20}
    worker = system.worker("--poll", "0.2")
    try:
        wait_for(lambda: len(sandbox.inbox()) == 40, 20)
        wait_for(lambda: system.counts() == {"sent": 40}, 10, every=0.5)
    finally:
        worker.kill()
        worker.wait()


def test_without_credentials_it_refuses_to_start(system: System) -> None:
    system.environment["SMS_SERVICE_PASSWORD"] = ""
    ended = system.manage("sms_worker", "--once", check=False)
    assert ended.returncode == 1
    assert "SMS_SERVICE_PASSWORD" in ended.stderr


@pytest.mark.django_db(transaction=True)
def test_a_claim_whose_answer_was_lost_runs_out(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    known, lost = queue_sms("0772123456", "known"), queue_sms("0772123457", "lost")
    worker = Worker(Options(), print)
    claim(worker.claimer, 2, -1.0)
    worker._in_hand[known.pk] = known
    worker._keep_leases(time.monotonic())
    rows = dict(SmsMessage.objects.values_list("text", "status"))
    assert rows == {"known": "sending", "lost": "queued"}
    claim(worker.claimer, 1, 60.0, lost.pk)
    worker._say_goodbye(hand_back=True)
    assert not SmsMessage.objects.filter(status="sending").exists()


def test_notify_wakes_an_idle_worker(postgres: Postgres, sandbox: Sandbox) -> None:
    system = System(postgres.create_database(f"notify_{time.time_ns()}"), sandbox)
    system.worker("--poll", "60")
    try:
        time.sleep(3)
        system.queue(1)
        wait_for(lambda: len(system.texts()) == 1, 5)
    finally:
        system.workers[0].kill()
        system.workers[0].wait()


def test_postgresql_and_redis_restarted_under_the_worker(
    postgres: Postgres, redis_server: RedisServer, sandbox: Sandbox
) -> None:
    system = System(postgres.create_database(f"restart_{time.time_ns()}"), sandbox)
    system.environment |= {"REDIS_URL": redis_server.url, "SMS_RATE_LIMIT_SECONDS": "1"}
    sandbox.faults(latency_ms=50)
    system.queue(600)
    worker = system.worker()
    try:
        wait_for(lambda: len(system.texts()) >= 100, 30)
        redis_server.stop()
        wait_for(lambda: len(system.texts()) >= 200, 30)
        postgres.stop()
        time.sleep(1.5)
        postgres.start()
        redis_server.start()
        wait_for(lambda: len(system.texts()) == 600, 60)
        wait_for(lambda: system.counts() == {"sent": 600}, 30, every=0.5)
        assert worker.poll() is None
        # What was in flight or unwritten when the database went away was written when it came back.
        assert set(system.texts().values()) == {1}
    finally:
        worker.kill()
        worker.wait()
