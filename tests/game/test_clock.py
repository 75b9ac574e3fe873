"""A machine with a wrong clock: only the database's clock decides when an entry expires."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from game.models import Entry
from game.rules.ending import expire_old
from payments import database
from sms import clock
from tests.game_helpers import ALICE, BOB, age, stake, status

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="a database that is a file has the machine's clock"),
]


def be_wrong_by(hours: int, monkeypatch: Any) -> None:
    real = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() + timedelta(hours=hours))


@pytest.mark.parametrize("hours", [1, -1])
def test_a_host_with_a_wrong_clock_among_right_ones(client: Client, monkeypatch: Any, hours: int) -> None:
    placed = stake(client, ALICE)
    with monkeypatch.context() as here:
        be_wrong_by(hours, here)
        assert status(client, placed["queue_token"])["status"] == "queued"
        assert expire_old() == 0
        call_command("expire_queue")
        assert Entry.objects.get().status == "queued"
        assert stake(client, BOB)["status"] == "matched"
    match = Entry.objects.earliest("pk").session
    assert match is not None
    # The match lasts as long as any other. One second is allowed, because the process computes the database's time from
    # its last reading.
    assert timedelta(minutes=9) < match.expires_at - timezone.now() <= timedelta(minutes=10, seconds=1)
    assert match.status == "active"


def test_what_is_over_is_over_everywhere(client: Client, monkeypatch: Any) -> None:
    placed = stake(client, ALICE)
    age()
    be_wrong_by(-1, monkeypatch)
    assert status(client, placed["queue_token"])["status"] == "expired"
    assert stake(client, BOB)["status"] == "queued"
    assert expire_old() == 1


def test_it_is_read_now_and_then_and_never_runs_backwards(monkeypatch: Any, django_assert_num_queries: Any) -> None:
    clock.now()
    with django_assert_num_queries(0):
        moments = [clock.now() for _ in range(1000)]
    assert moments == sorted(moments)
    monkeypatch.setattr("sms.clock.current.known", None)
    with django_assert_num_queries(1):
        assert abs((clock.now() - timezone.now()).total_seconds()) < 5


def test_a_slow_new_connection_does_not_make_it_wrong(monkeypatch: Any) -> None:
    connect = connection.get_new_connection

    def slowly(parameters: Any) -> Any:
        time.sleep(0.5)
        return connect(parameters)

    connection.close()
    monkeypatch.setattr(connection, "get_new_connection", slowly)
    monkeypatch.setattr("sms.clock.current.known", None)
    assert abs((clock.now() - timezone.now()).total_seconds()) < 0.2


def test_stakes_payments_and_messages_take_their_times_from_the_same_reading(monkeypatch: Any) -> None:
    """Otherwise the timeline could show a callback before its stake."""
    last = clock.now() - timedelta(hours=1)
    monkeypatch.setattr("sms.clock.current.known", (last, clock.monotonic() - 4))
    assert [(moment() - last) // timedelta(minutes=1) for moment in (database.now, clock.now)] == [0, 0]
    monkeypatch.setattr("sms.clock.current.known", (last, clock.monotonic() - 6))
    assert [(moment() - last) // timedelta(minutes=1) for moment in (clock.now, database.now, clock.now)] == [0, 60, 60]
