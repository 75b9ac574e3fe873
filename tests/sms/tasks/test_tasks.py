"""Sending with Django's tasks framework (`SMS_DELIVERY=tasks`)."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from redis import Redis

from sms.models import SmsMessage
from sms.outbox import queue_sms
from sms.testing import Sandbox
from tests import preloaded
from tests.conftest import Postgres, RedisServer, wait_for
from tests.preloaded import Process

ROOT = Path(__file__).parents[3]
TEXTS = 300


@pytest.fixture
def by_tasks(sandbox: Sandbox, settings: Any) -> Sandbox:
    """Send by tasks. The setting TASKS is missing, so Django runs each task immediately."""
    settings.SMS_DELIVERY = "tasks"
    return sandbox


@pytest.mark.django_db(transaction=True)
def test_a_text_is_handed_over_after_commit(by_tasks: Sandbox) -> None:
    with transaction.atomic():
        message = queue_sms("0772123456", "by a task")
        assert by_tasks.sends == 0
    message.refresh_from_db()
    assert (message.status, by_tasks.sends) == ("sent", 1)


@pytest.mark.django_db(transaction=True)
def test_what_may_pass_later_waits_in_its_row(by_tasks: Sandbox) -> None:
    by_tasks.faults(send="503")
    message = queue_sms("0772123456", "later")
    message.refresh_from_db()
    assert message.status == "queued"
    assert message.due_at > message.created_at
    assert SmsMessage.objects.get(pk=message.pk).retries == 1


class Project:
    """A project that uses RQ. Each command runs in its own process."""

    def __init__(self, database_url: str, redis: RedisServer, sandbox: Sandbox) -> None:
        self.environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.sms.tasks.project",
            "DATABASE_URL": database_url,
            "REDIS_URL": redis.url,
            "SANDBOX_URL": sandbox.url,
            "PYTHONPATH": str(ROOT),
        }
        self.workers: list[Process] = []

    def run(self, *arguments: str) -> str:
        ended = preloaded.run(["-m", "django", *arguments], env=self.environment)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def work(self) -> Process:
        """Start an RQ worker that does not fork for each job."""
        options = ("--job-class", "django_tasks_rq.Job", "--worker-class", "rq.SimpleWorker")
        command = ["-m", "django", "rqworker", *options]
        worker = Process(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.workers.append(worker)
        return worker

    def kill(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()


@pytest.fixture
def project(postgres: Postgres, redis_server: RedisServer, sandbox: Sandbox) -> Iterator[Project]:
    made = Project(postgres.create_database(f"tasks_{uuid.uuid4().hex[:8]}"), redis_server, sandbox)
    made.run("migrate", "-v0")
    # Remove the jobs of earlier tests, whose messages are in other databases.
    Redis.from_url(redis_server.url).flushdb()
    yield made
    made.kill()


def queue(count: int) -> str:
    """Return code that queues `count` messages, ten per transaction."""
    return f"""
from django.db import transaction
from sms.outbox import queue_sms
for start in range(0, {count}, 10):
    with transaction.atomic():
        for number in range(start, start + 10):
            queue_sms(f"0772{{number:06}}", f"text {{number}}")
"""


STATES = """
from collections import Counter
from sms.models import SmsMessage
print(sorted(Counter(SmsMessage.objects.values_list("status", flat=True)).items()))
"""


@pytest.mark.slow
def test_killed_workers_lose_no_message(project: Project, sandbox: Sandbox) -> None:
    sandbox.faults(latency_ms=10)
    project.run("shell", "-v0", "-c", queue(TEXTS))
    for _ in range(2):
        project.work()
    wait_for(lambda: sandbox.counts()["texts"]["taken"] > TEXTS // 3, seconds=120)
    project.kill()
    assert sandbox.counts()["texts"]["taken"] < TEXTS
    # No RQ worker is running. `sms_worker --once` must send the remaining messages.
    wait_for(lambda: project.run("sms_worker", "--once") and _all_sent(project), seconds=90, every=3.0)
    texts = sandbox.counts()["texts"]
    assert texts["different"] == TEXTS
    assert texts["taken"] - TEXTS <= len(project.workers)


def _all_sent(project: Project) -> bool:
    return project.run("shell", "-v0", "-c", STATES).strip() == f"[('sent', {TEXTS})]"
