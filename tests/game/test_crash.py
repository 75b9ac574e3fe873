"""The data of an answered callback is on disk. PostgreSQL is stopped right after the response."""

import os
from typing import Any

import psycopg
import pytest

from tests.conftest import Postgres
from tests.preloaded import Process
from tests.system import postgres_database

# CRASH_ROUNDS sets another number. 100 rounds take some minutes.
ROUNDS = int(os.environ.get("CRASH_ROUNDS", "6"))
# This process stakes and sends one callback for each line of its input. It prints the transaction id after the
# response.
SITE = """
import sys, django
django.setup()
from django.test import Client
from django.db import connection
from tests.game_helpers import callback, callback_body, stake
for number, _ in enumerate(sys.stdin):
    connection.close()  # the server was restarted
    phone = f"0772001{number:03}"
    placed = stake(Client(), phone, 1000 + number)
    if sys.argv[1] == "404":
        placed["transaction_id"] = f"unknown-{number}"
    assert callback(Client(), callback_body(placed, phone)).status_code == int(sys.argv[1])
    print(placed["transaction_id"], flush=True)
"""


PAID = """
    SELECT payment.status, entry.status, message.kind, callback.answered FROM payments_payment payment
    JOIN game_entry entry ON entry.payment_id = payment.id JOIN payments_callback callback USING (payment_id)
    LEFT JOIN sms_smsmessage message ON message.dedupe_key = 'payment:' || payment.id || ':success'
    WHERE payment.transaction_id = %s
"""
REFUSED = "SELECT answered FROM payments_callback WHERE body LIKE '%%' || %s || '%%'"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "sql", "expected"),
    [(200, PAID, ("SUCCESS", "queued", "payment_success", 200)), (404, REFUSED, (404,))],
    ids=["paid", "refused"],
)
def test_a_callback_survives_a_crash_right_after_its_answer(
    postgres: Postgres, answer: int, sql: str, expected: tuple[Any, ...]
) -> None:
    url = postgres_database(postgres)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "playmatatu.settings",
        "DATABASE_URL": url,
        "SECRET_KEY": "k" * 50,
        "DEBUG": "false",
        "ALLOWED_HOSTS": "testserver",
        "SITE_URL": "http://127.0.0.1:8000",
        "SMS_DELIVERY": "worker",
        "MOMO_AUTO_APPROVE": "false",
        "MOMO_CALLBACK_SECRET": "a-secret-for-the-tests",
        "PYTHONWARNINGS": "ignore",
    }
    (stdin, requests), (answers, stdout) = os.pipe(), os.pipe()
    site = Process(["-c", SITE, str(answer)], env=environment, stdin=stdin, stdout=stdout)
    os.close(stdin)
    os.close(stdout)
    with os.fdopen(requests, "wb", buffering=0) as ask, os.fdopen(answers) as answered:
        for _ in range(ROUNDS):
            ask.write(b"\n")
            transaction_id = answered.readline().strip()
            postgres.stop()
            postgres.start()
            with psycopg.connect(url) as connection:
                found = connection.execute(sql.encode(), [transaction_id]).fetchone()
            assert found == expected
    assert site.wait(30) == 0
