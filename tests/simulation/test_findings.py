"""A scenario for each fault that was found in the sender.

The docstrings describe the behavior before the fix. `docs/simulation.md` lists the findings with the seeds.
"""

from typing import Any

import pytest
from django.db import connection, transaction

from sms import outbox
from sms.errors import ProviderUnavailable
from sms.models import SmsEvent, SmsMessage, SmsPause
from sms.worker import maintenance
from sms.worker.worker import Options
from tests.simulation.network import ANSWERED, SILENT, Plan
from tests.simulation.world import LEASE, Violation, World, simulated

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="the simulation uses SQLite in memory"),
]


def statuses(world: World) -> dict[str, int]:
    return dict(world.rows("SELECT status, count(*) FROM sms_smsmessage GROUP BY status"))


def options(**values: Any) -> Options:
    return Options(**({"in_flight": 8, "batch": 6, "lease": LEASE, "maintenance": 1e9} | values))


def test_a_busy_worker_sleeps_and_frees_what_another_left() -> None:
    """Before the fix (finding 5), a worker made 179,345 row updates in 12 s, and leases were never freed."""
    with simulated(5) as world:
        world.provider.behave = lambda number: (Plan(2.5), True)
        world.backlog(range(300))
        world.worker("one")
        killed = world.worker("two")
        world.run(10)
        world.kill(killed)
        world.run(10 + 4 * LEASE)
        assert world.rows("SELECT 1 FROM sms_smsmessage WHERE claim = ?", killed.worker.claimer) == []
        world.run(120)
        assert statuses(world) == {"sent": 300}
        world.check()
        world.finish()


def test_a_paused_worker_sleeps() -> None:
    """Before the fix (finding 5), a worker with paused sending used 2.4 s of CPU in 12 s."""
    with simulated(51) as world:
        world.provider.behave = lambda number: (Plan(0.01, ANSWERED, 503), False)
        world.backlog(range(100))
        one = world.worker("one")
        world.run(30)
        assert one.worker.breaker.is_open
        turns = one.turns
        world.run(60)
        assert one.turns - turns < 150


@pytest.mark.parametrize(("judge", "cache"), [(1.1, 0.0005), (8.0, 0.0005), (0.0, 0.6), (2.0, 1.5)])
def test_slow_eligibility_keeps_no_message(judge: float, cache: float) -> None:
    """Before the fix (finding 6), no message was ever sent."""
    with simulated(6, rate_limit=8) as world:
        world.judge_seconds, world.cache.latency = judge, cache
        world.backlog(range(30))
        world.worker("one")
        world.run(200)
        assert statuses(world) == {"sent": 30}
        world.check()
        world.finish()


@pytest.mark.parametrize("step", [-0.5, -60.0])
@pytest.mark.parametrize("again", [False, True])
def test_inline_sends_although_the_clock_is_set_back(step: float, again: bool) -> None:
    """Before the fix (finding 7), 20 of 20 messages stayed queued."""
    with simulated(7) as world:
        process = world.process("inline", delivery="inline")
        world.phones[1] = "0772000001"
        if again:
            world.do(process, lambda: outbox.queue_sms("0772000001", "message 1"))
            world.run(5)
            SmsMessage.objects.update(status="unknown")
        process.db_latency = 0.5

        def order() -> None:
            if again:
                outbox.resend(SmsMessage.objects.all(), "grace")
            else:
                outbox.queue_sms("0772000001", "message 1")

        world.do(process, order)
        while not SmsMessage.objects.filter(status="queued").exists():
            world.run(world.now + 0.1)
        # This moment is between the commit and the claim.
        world.clock.database_offset += step
        world.run(world.now + 10)
        assert statuses(world) == {"sent": 1}


def test_a_key_that_expires_between_two_calls_lets_one_message_pass() -> None:
    """Before the fix (finding 9), 27 of 49 messages came too soon after the previous one."""
    with simulated(9, rate_limit=8) as world:
        one = world.worker("one")
        world.scheduler.call_at(1.0, world.queue, 0, "0772999999")
        world.run(8.9)
        for number in range(1, 7):
            world.queue(number, "0772999999")
        world.run(8.95)
        # The worker claims the messages now, and its two cache calls end at about 9.00 s and 9.05 s.
        world.cache.latency = 0.05
        one.worker.listener.notified = True
        one.worker.waker.wake()
        assert 9.01 < world.cache._data["sms_rate:+256772999999"][1] < 9.04
        world.run(10)
        assert len(world.provider.sent) == 2
        world.run(120)
        assert statuses(world) == {"sent": 7}
        world.check()


@pytest.mark.parametrize("step", [-60.0, -20.0, 20.0, 60.0])
def test_a_clock_that_steps_takes_no_lease_of_a_worker_that_runs(step: float) -> None:
    """Before the fix (finding 10), a worker freed its own messages in flight: 321 of 768 messages were sent twice."""
    with simulated(10) as world:
        world.clock_stepped = True
        world.provider.behave = lambda number: (Plan(2.5), True)
        world.backlog(range(120))
        world.worker("one")
        # The second worker renews its leases at other times than the first one searches for expired leases.
        world.at(1.0, "the second worker starts", world.worker, "two")

        for when, offset in ((4.0, step), (11.0, 0.0), (17.3, step)):
            world.at(when, "the database's clock is set", setattr, world.clock, "database_offset", offset)
        world.run(200)
        assert not world.freed
        assert len(world.provider.sent) == 120
        assert statuses(world) == {"sent": 120}


def test_receivers_that_hang_stop_no_message() -> None:
    """Before the fix (finding 11), sending stopped after 200 batches."""
    with simulated(11) as world:
        world.receiver_seconds = 1e6
        world.backlog(range(500))
        one = world.worker("one", options(in_flight=1, batch=1))
        world.run(240)
        assert statuses(world) == {"sent": 500}
        assert one.worker.recorder.signals.behind() > 200


def test_no_request_leaves_after_its_lease() -> None:
    """Before the fix (finding 12), 64 of 64 messages were accepted twice when the database of one worker hung."""
    with simulated(12) as world:
        world.provider.behave = lambda number: (
            (Plan(1.2, ANSWERED, 503), False) if world.now < 16 else (Plan(0.05), True)
        )
        world.backlog(range(20))
        hung = world.worker("hung")
        world.run(0.5)
        hung.db_hangs_until = 30.0
        world.scheduler.call_at(2.0, world.worker, "other")
        world.run(100)
        world.check()


@pytest.mark.parametrize("pause", [0.4, 3.0, 9.0])
def test_a_crash_loop_sends_four_copies_at_most(pause: float) -> None:
    """Before the fix (finding 13), six kills caused six copies of each message."""
    with simulated(13) as world:
        world.provider.behave = lambda number: (Plan(5.0, SILENT), True)
        world.backlog(range(5))
        when = 0.0
        while when < 150:
            process = world.worker(f"worker{when}")
            world.run(when + pause)
            world.kill(process)
            when += pause + 0.1
        world.worker("last")
        world.run(900)
        assert max(len(sent) for sent in world.provider.by_number.values()) <= 4
        assert statuses(world) == {"unknown": 5}


def test_inline_counts_its_first_request_before_the_second() -> None:
    with simulated(131) as world:
        world.provider.behave = lambda number: (Plan(5.0, SILENT), True)
        process = world.process("inline", delivery="inline")
        world.phones[1] = "0772000001"
        world.do(process, lambda: outbox.queue_sms("0772000001", "message 1"))
        world.run(4.5)
        world.kill(process)
        assert len(world.provider.sent) == 2
        world.worker("one")
        world.run(60)
        assert SmsMessage.objects.get().ambiguous_requests >= 3


def test_an_exception_while_concluding_keeps_no_other_message() -> None:
    """Before the fix (finding 16), the rest of the batch stayed `sending`.

    After a SIGTERM, accepted messages were queued again.
    """
    with simulated(16) as world:
        world.defective = {3}
        world.backlog(range(20))
        world.worker("one")
        world.run(20)
        assert statuses(world) == {"sent": 20}
        assert len(world.provider.sent) == 20
        world.finish()


def test_kept_connections_that_were_closed_cost_no_minute() -> None:
    """Before the fix (finding 17), 562 of 2,000 messages waited for 60 s."""
    with simulated(17) as world:
        world.provider.loses_kept_connections = 1.0
        world.backlog(range(60))
        world.worker("one")
        world.run(20)
        assert statuses(world) == {"sent": 60}
        assert len(world.provider.kept_losses["one"]) <= 3 + 8


def test_a_database_that_hangs_delays_sigterm_less_than_30_s() -> None:
    """Before the fix (finding 18), no request was sent for 45 s, and the worker still ran 40 s after a SIGTERM."""
    with simulated(18) as world:
        world.backlog(range(30))
        one = world.worker("one")
        world.run(0.6)
        one.db_hangs_until = 1e6
        world.run(3)
        world.stop(one)
        world.run(33.5)
        assert one.exited is not None


def test_the_default_lease_does_not_delay_sigterm_if_the_database_hangs() -> None:
    """Before the fix, the last two statements waited 10 s each, and systemd killed the worker after 35 s."""
    with simulated(182) as world:
        world.provider.behave = lambda number: (Plan(2.5), True)
        world.backlog(range(30))
        one = world.worker("one", options(lease=15.0))
        world.run(0.6)
        one.db_hangs_until = 1e6
        world.run(3)
        world.stop(one)
        world.run(34)
        assert one.exited is not None


def test_one_hung_backend_is_left_for_another() -> None:
    with simulated(181) as world:
        one = world.worker("one")
        world.run(1)
        one.db_hangs_until = 1e6
        abort = world._abort_statement

        def new_connection(connection: Any) -> None:
            one.db_hangs_until = 0.0
            abort(connection)

        world._shut_down = new_connection
        world.queue(1)
        world.run(1 + LEASE + 2)
        assert statuses(world) == {"sent": 1}


def test_200_messages_to_one_phone_are_logged_once_each() -> None:
    """Before the fix (finding 20), there were 2,556 rate-limit events for 61 sends."""
    with simulated(20, rate_limit=8) as world:
        world.backlog(range(200), phone="0772999999")
        world.worker("one")
        world.run(400)
        sent = len(world.provider.sent)
        assert 45 <= sent <= 50
        assert SmsEvent.objects.filter(step="throttle").count() <= 200
        world._check_rate()


def test_a_provider_that_takes_messages_and_answers_500_gets_few_copies() -> None:
    """Before the fix (finding 20), 63 copies were sent in 21 attempts within an hour."""
    with simulated(201) as world:
        world.provider.behave = lambda number: (Plan(0.05, ANSWERED, 500), True)
        world.backlog(range(1))
        world.worker("one")
        world.run(300)
        assert len(world.provider.sent) == 4 * 3
        world.run(3700)
        assert len(world.provider.sent) <= 4 * 3 + 6 * 3


def test_sigterm_with_a_backlog_sleeps() -> None:
    """Before the fix (finding 22), the worker ran 12,428 rounds in 1.9 s."""
    with simulated(22) as world:
        world.provider.behave = lambda number: (Plan(2.9), True)
        world.backlog(range(500))
        one = world.worker("one")
        world.run(10)
        steps = world.scheduler.steps
        world.stop(one)
        world.run(15)
        assert one.exited is True
        assert world.scheduler.steps - steps < 500


def test_an_exception_while_finishing_loses_no_result() -> None:
    """Before the fix (finding 22), the worker ended without storing all results."""
    with simulated(221) as world:
        world.provider.behave = lambda number: (Plan(2.0), True)
        world.backlog(range(30))
        one = world.worker("one")
        world.run(3.5)
        write, failures = one.worker.recorder.write, [1, 2]

        def broken() -> None:
            if failures:
                failures.pop()
                raise ValueError("a defect")
            write()

        one.worker.recorder.write = broken
        world.finish()
        assert one.exited is True
        assert statuses(world).keys() == {"sent", "queued"}
        assert statuses(world)["sent"] == len(world.provider.sent)


def test_a_paused_kind_is_not_sent_and_costs_no_turns() -> None:
    with simulated(202) as world:
        world.backlog(range(50))
        SmsPause.objects.create(kind="", reason="test", actor="grace")
        one = world.worker("one")
        world.run(30)
        assert (statuses(world), one.turns < 120) == ({"queued": 50}, True)


def test_a_failure_after_the_commit_stops_no_other_message() -> None:
    """Before the fix (finding 8), the caller got an AttributeError, and two of three messages were never sent."""
    with simulated(8) as world:
        process = world.process("inline", delivery="inline")
        for number in range(3):
            world.phones[number] = f"0772{number:06}"

        def order() -> None:
            with transaction.atomic():
                for number in range(3):
                    outbox.queue_sms(world.phones[number], f"message {number}")
            process.exited = True

        world.do(process, order)
        while not SmsMessage.objects.exists():
            world.run(world.now + 0.0001)
        process.cuts = 1  # the claim of the first message fails
        world.run(20)
        assert (statuses(world), process.exited) == ({"queued": 1, "sent": 2}, True)


@pytest.mark.parametrize("judge", [0.0, 9.0])
def test_a_crash_loop_ends_no_message_that_only_waits(judge: float) -> None:
    """Before the fix (finding 13), each crash was counted for all claimed messages.

    After four crashes, messages ended although they had never been sent.
    """
    with simulated(132) as world:
        world.provider.behave = lambda number: (Plan(5.0, SILENT), True)
        world.backlog(range(40))
        world.judge_seconds = judge
        when = 0.0
        while when < 8 * 3 * LEASE:
            process = world.worker(f"worker{when}")
            world.run(when + 2.5)
            world.kill(process)
            when += 3 * LEASE
            world.run(when)
        assert len(world.provider.by_number) < 40
        world.provider.behave = lambda number: (Plan(0.05), True)
        world.judge_seconds = 0.0
        world.worker("last")
        world.run(when + 100)
        given_up = [
            int(text.split()[1]) for (text,) in world.rows("SELECT text FROM sms_smsmessage WHERE status <> 'sent'")
        ]
        # The first crash is counted for every claimed message. After that, only requests are counted.
        assert all(3 <= len(world.provider.by_number[number]) <= 4 for number in given_up)


def test_a_poll_after_a_resend_asks_for_the_new_request() -> None:
    """Before the fix (finding 14), a poll used the first request's id, and the resent message became `undelivered`."""
    with simulated(14) as world:
        world.maintenance = 3.0
        world.provider.words = {"id-1-1": "FAILED", "id-1-2": "DELIVERED"}
        world.backlog(range(1, 2))
        world.worker("one")
        world.run(20)
        assert statuses(world) == {"undelivered": 1}
        world.do(world.site, lambda: outbox.resend(SmsMessage.objects.all(), "grace"))
        world.run(60)
        assert (statuses(world), len(world.provider.sent)) == ({"delivered": 1}, 2)


def test_inline_records_its_result_on_a_fresh_connection() -> None:
    """Before the fix (finding 15), the result was lost, and `sms_worker --once` sent the message again."""
    with simulated(15) as world:
        process = world.process("inline", delivery="inline")
        world.phones[1] = "0772000001"
        world.do(process, lambda: outbox.queue_sms("0772000001", "message 1"))
        while not world.provider.sent:
            world.run(world.now + 0.001)
        process.cuts = 1
        world.run(30)
        assert statuses(world) == {"sent": 1}


@pytest.mark.parametrize("stands_still", [False, True])
def test_a_machine_that_was_suspended_sends_nothing_after_its_leases(stands_still: bool) -> None:
    """A monotonic clock that stands still during the suspension hides that the leases have expired."""
    with simulated(24) as world:
        world.provider.behave = lambda number: (Plan(0.5), True)
        world.backlog(range(60))
        one = world.worker("one")
        world.run(2.0)
        world.scheduler.suspend(one, 2 * LEASE)
        one.stood_still = 2 * LEASE * stands_still
        if stands_still:
            with pytest.raises(Violation, match="after its lease"):
                world.run(60)
            return
        world.run(60)
        assert statuses(world) == {"sent": 60}
        world.check()


def test_an_answer_just_before_the_worker_must_end_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the fix, the result was lost. Another worker then sent the message again."""
    monkeypatch.setattr("sms.worker.worker._STOP_SECONDS", 2.0)
    with simulated(25) as world:
        world.provider.behave = lambda number: (Plan(2.98 - world.now), True)
        world.backlog(range(8))
        one = world.worker("one", options())
        world.run(1.0)
        world.stop(one)
        world.run(5)
        assert one.exited is True
        assert (statuses(world), len(world.provider.sent)) == ({"sent": 8}, 8)


def test_polls_that_fail_do_not_keep_the_messages_of_an_ended_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the fix, with `--maintenance 15` or less, the messages were never released and did not even expire."""

    def refused(**_: object) -> None:
        raise ProviderUnavailable("a defect of the reports only")

    monkeypatch.setattr("sms.worker.background.polling.poll", refused)
    with simulated(26) as world:
        hold = SmsPause.objects.create(reason="test", actor="grace")
        world.backlog(range(8))
        maintenance.park()
        world.worker("one", options(maintenance=3.0))
        world.run(10)
        hold.delete()
        world.run(30)
        assert statuses(world) == {"sent": 8}
