"""`kill -9` of workers during many payment requests: no request is repeated, and none is forgotten."""

import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from payments import services, worker
from payments.models import Payment
from tests.conftest import wait_for
from tests.payments.helpers import asked, fresh, later, notice, pay
from tests.preloaded import Process
from tests.sandbox import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
ROOT = Path(__file__).parents[2]
IN_EARNEST = connection.vendor == "postgresql"
ORDERS = 1000 if IN_EARNEST else 120
AFTER = 60 if IN_EARNEST else 20

Workers = list[Process]


@pytest.fixture
def workers(collection: Sandbox, settings: Any) -> Iterator[Workers]:
    settings.SMS_DELIVERY = "worker"
    collection.faults(callback="never", pay_latency_ms=60)
    running: Workers = []
    yield running
    for process in running:
        process.kill()
        process.wait()


def start(workers: Workers, settings: Any) -> None:
    """Start another worker with this test's database and sandbox."""
    database = connection.settings_dict
    url = f"sqlite:///{database['NAME']}"
    if IN_EARNEST:
        url = f"postgres://{database['USER']}@{database['HOST']}:{database['PORT']}/{database['NAME']}"
    names = ("BASE_URL", "TOKEN_URL", "USERNAME", "PASSWORD", "ACCOUNT_CODE", "TIMEOUT")
    environment = {
        **os.environ,
        **{f"DMARK_PAY_{name}": str(getattr(settings, f"DMARK_PAY_{name}")) for name in names},
        "DJANGO_SETTINGS_MODULE": "playmatatu.settings",
        "SECRET_KEY": settings.SECRET_KEY,
        "DEBUG": "true",
        "DATABASE_URL": url,
        "SMS_DELIVERY": "worker",
        "LOG_LEVEL": "WARNING",
    }
    command = ["manage.py", "game_worker", "--poll", "0.1"]
    workers.append(Process(command, env=environment, stdout=subprocess.DEVNULL))


def due() -> bool:
    return Payment.objects.filter(collection="due").exists()


def _went_on(sandbox: Sandbox, before: int) -> bool:
    return len(asked(sandbox)) >= before + AFTER or not due()


def test_nobody_is_asked_twice_and_nobody_forgotten(collection: Sandbox, workers: Workers, settings: Any) -> None:
    payments = [pay(f"+25678{number:07}") for number in range(ORDERS)]
    start(workers, settings)
    start(workers, settings)
    kills = 0
    while due():
        before = len(asked(collection))
        wait_for(partial(_went_on, collection, before), seconds=60)
        oldest = workers.pop(0)
        oldest.kill()
        oldest.wait()
        kills += 1
        start(workers, settings)
    for process in workers:
        process.kill()
        process.wait()
    assert kills >= 3
    # After some time, the requests that the killed workers had claimed become ambiguous.
    for payment in payments:
        if fresh(payment).collection == "asking":
            later(payment, 3600)
    services.work_once()
    counts = asked(collection)
    assert set(counts.values()) == {1}
    states = {payment.transaction_id: fresh(payment).collection for payment in payments}
    assert set(states.values()) <= {"asked", "in_doubt"}
    ambiguous = [name for name, state in states.items() if state == "in_doubt"]
    assert len(ambiguous) <= (kills + 2) * worker.THREADS
    assert set(states) - set(ambiguous) <= set(counts)
    # A notification from DMarkPay reveals that it has the payment anyway.
    taken = {one.sp_transaction_id: one for one in collection.server.state.money.transactions.values()}
    found = [payment for payment in payments if payment.transaction_id in taken and payment.transaction_id in ambiguous]
    settings.SMS_DELIVERY = "inline"
    for payment in found[:10]:
        collection.tap(payment.transaction_id, "pay")
        notice(Client(), payment, transaction_id=taken[payment.transaction_id].transaction_id)
        assert fresh(payment).status == "SUCCESS"
