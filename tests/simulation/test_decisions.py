"""Scenarios for single decisions of the worker. Each of them fails without the line of the worker that it is about."""

import json
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection

from sms.models import SmsMessage, SmsPause
from tests.simulation.network import ANSWERED, SILENT, Plan
from tests.simulation.test_findings import options, statuses
from tests.simulation.world import simulated

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="the simulation uses SQLite in memory"),
]


def test_a_worker_without_its_engine_stops_at_once() -> None:
    with simulated(301) as world:
        world.provider.behave = lambda number: (Plan(5.0, SILENT), True)
        world.backlog(range(3))
        one = world.worker("one")
        world.run(1.0)
        world.stop(one)
        one.worker.engine._quit = True  # The engine's thread ends and leaves its messages in flight.
        one.worker.engine.waker.wake()
        world.run(6.0)
        assert (one.exited, statuses(world)) == (True, {"queued": 3})


def test_an_idle_worker_sends_a_message_without_renewing_its_lease() -> None:
    with simulated(302) as world:
        statements, execute = [], world.execute

        def note(run: Any, sql: str, *context: Any) -> Any:
            statements.append(sql.split()[0:4])
            return execute(run, sql, *context)

        one = world.worker("one")
        world.run(5.0)
        world.execute = note  # type: ignore[assignment, method-assign]
        world.queue(1)
        world.run(8.0)
        assert one.worker.recorder.sent == 1
        assert ["UPDATE", '"sms_smsmessage"', "SET", "lease_until"] not in statements


def test_a_message_that_is_claimed_again_keeps_its_second_request() -> None:
    """The result of the first request must not end the message while the second request is in flight."""
    with simulated(303) as world:
        first = (Plan(2.0, ANSWERED, 400), False)
        world.provider.behave = lambda number: first if len(world.provider.sent) == 1 else (Plan(2.5), True)
        world.backlog(range(1))
        world.worker("one")
        world.run(0.5)
        SmsMessage.objects.update(status="queued", claim="", lease_until=None)
        world.run(3.0)
        assert [one.answered for one in world.provider.sent] == [True, False]
        assert statuses(world) == {"sending": 1}
        world.run(10.0)
        assert statuses(world) == {"sent": 1}


def test_an_open_breaker_takes_back_the_messages_that_have_not_begun() -> None:
    with simulated(304) as world:
        world.provider.behave = lambda number: (Plan(0.05, ANSWERED, 402), False)
        world.backlog(range(60))
        one = world.worker("one", options(batch=48))
        world.run(1.0)
        assert (one.worker.breaker.is_open, statuses(world)) == (True, {"queued": 60})
        assert len(world.provider.sent) <= 3 * 8


def test_a_message_whose_result_cannot_be_stored_stays_claimed_after_the_end() -> None:
    """If the worker queued the message again, another worker would send it a second time at once."""
    with simulated(305) as world:
        execute = world.execute

        def refuse(run: Any, sql: str, *context: Any) -> Any:
            if "it.status" in sql:
                raise DatabaseError("refused")
            return execute(run, sql, *context)

        world.execute = refuse  # type: ignore[assignment, method-assign]
        world.backlog(range(1))
        one = world.worker("one")
        world.run(2.0)
        world.stop(one)
        world.run(31.0)
        assert (one.exited, statuses(world)) == (True, {"sending": 1})


def test_attempts_counts_the_requests_of_all_rounds() -> None:
    with simulated(306) as world:
        world.provider.behave = lambda number: (
            (Plan(0.05, ANSWERED, 503), False) if len(world.provider.sent) <= 7 else (Plan(0.05), True)
        )
        world.backlog(range(1))
        world.worker("one")
        world.run(60.0)
        assert (SmsMessage.objects.get().attempts, statuses(world)) == (len(world.provider.sent), {"sent": 1})
        assert len(world.provider.sent) == 8


@pytest.mark.parametrize("slow", [0.05, 2.9])
def test_the_messages_of_an_ended_pause_are_sent_soon(slow: float) -> None:
    """A worker releases parked messages every 15 s, and after a minute of polls for reports that are slow."""
    with simulated(307) as world:
        world.maintenance, world.provider.report_seconds = 60.0, slow
        world.backlog(range(60))
        world.worker("one")
        world.run(10.0)
        assert statuses(world) == {"sent": 60}
        hold = SmsPause.objects.create(reason="test", actor="grace")
        world.backlog(range(100, 130))
        world.run(62.0)  # the polls begin after 60 s, and may take 60 × 2.9 s
        assert SmsMessage.objects.filter(status="queued").exclude(lease_until=None).count() == 30
        hold.delete()
        world.run(62.0 + (60.0 + 5.0 if slow > 1 else 17.0))
        assert statuses(world) == {"sent": 90}
        world.check()
        world.finish()


def test_a_message_whose_result_cannot_be_logged_is_sent_again() -> None:
    """Before the fix, the message ended as `unknown`, although no request had been sent."""
    with simulated(308) as world:
        world.defective = {0}
        world.provider.refuses_connections = True
        world.backlog(range(1))
        world.worker("one")
        world.at(3.0, "connections work", setattr, world.provider, "refuses_connections", False)
        world.run(20.0)
        assert (statuses(world), len(world.provider.sent)) == ({"sent": 1}, 1)


def test_the_rate_limit_holds_after_the_cache_was_down() -> None:
    """A message that was sent during the outage has no key. Before the fix, the next one was sent 2 s after it."""
    with simulated(309, rate_limit=8) as world:
        world.cache.gone = True
        world.queue(1, "0772999999")
        world.worker("one")
        world.at(3.0, "the cache is back", setattr, world.cache, "gone", False)
        world.at(3.5, "queue 2", world.queue, 2, "0772999999")
        world.run(20.0)
        first, second = world.provider.sent
        assert 7 < second.at - first.at < 9


def test_an_open_breaker_without_messages_does_not_keep_the_worker_busy() -> None:
    """Before the fix, the worker made 20 turns a second from the end of the breaker's pause to the next message."""
    with simulated(310) as world:
        world.provider.behave_token = lambda: Plan(0.05, ANSWERED, 401)
        world.backlog(range(1))
        one = world.worker("one")
        world.run(5.0)
        SmsMessage.objects.update(status="cancelled")
        world.run(30.0)
        before = one.turns
        world.run(60.0)
        assert (one.worker.breaker.is_open, one.turns - before < 60) == (True, True)


def test_a_refused_result_is_stored_later_although_others_are_refused() -> None:
    """Before the fix, each refused result delayed the next attempt to store the earlier ones by another 30 s."""
    with simulated(311) as world:
        execute = world.execute

        def refuse(run: Any, sql: str, params: Any, *context: Any) -> Any:
            if "it.status" in sql and (world.now < 5.0 or [row["id"] for row in json.loads(params[0])] != [first]):
                raise DatabaseError("refused")
            return execute(run, sql, params, *context)

        world.execute = refuse  # type: ignore[assignment, method-assign]
        world.backlog(range(1))
        first = SmsMessage.objects.get().pk
        world.worker("one")
        for number in range(1, 6):
            world.at(10.0 * number, f"queue {number}", world.queue, number)
        world.run(45.0)
        assert statuses(world) == {"sent": 1, "sending": 4}


def test_the_result_of_a_deleted_message_does_not_wait_for_a_lock() -> None:
    """If storing results fails, the worker looks for locked rows once. A deleted row is not locked."""
    with simulated(312) as world:
        execute = world.execute

        def fail(run: Any, sql: str, *context: Any) -> Any:
            if "it.status" in sql and world.now < 1.0:
                raise OperationalError("canceled")
            return execute(run, sql, *context)

        world.execute = fail  # type: ignore[assignment, method-assign]
        world.backlog(range(1))
        one = world.worker("one")
        world.run(0.9)
        SmsMessage.objects.all().delete()
        world.run(6.0)
        recorder = one.worker.recorder
        assert (len(world.provider.sent), recorder.in_hand, recorder._look_for_locks) == (1, {}, False)
