"""A running sender keeps its messages, even if machines or databases are suspended."""

import os
import signal
import time
from datetime import datetime, timedelta
from datetime import timezone as zones
from functools import partial
from typing import Any

import pytest
from django.db.models import Q
from django.utils import timezone

from sms import clock
from sms.models import SmsMessage
from sms.outbox import queue_sms
from sms.sending.attempt import send_conversation
from sms.sending.claims import ExpiredLeaseReaper, claim, count_ahead, free_leases_over_before, renew_leases
from sms.worker.engine.loop import Job
from sms.worker.worker import Options, Worker
from tests import preloaded
from tests.audit import IN_FLIGHT
from tests.conftest import Postgres, Sandbox, wait_for
from tests.system import System


@pytest.mark.django_db(transaction=True)
def test_a_claim_whose_answer_was_lost_runs_out(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    known, lost = queue_sms("0772123456", "known"), queue_sms("0772123457", "lost")
    worker = Worker(Options())
    claim(worker.claimer, 2, -20.0)
    worker.recorder.in_hand[known.pk] = Job(known, lambda note: send_conversation(known, worker.config, note))
    worker._keep_leases()
    worker.reaper.look()
    rows = dict(SmsMessage.objects.values_list("text", "status"))
    assert rows == {"known": "sending", "lost": "queued"}
    claim(worker.claimer, 1, 60.0, lost.pk)
    worker._leave()
    assert not SmsMessage.objects.filter(status="sending").exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", ["inbox", "ended"])
def test_what_another_has_is_not_begun(sandbox: Sandbox, settings: Any, where: str) -> None:
    """A slow sender that still runs must not count as stuck. Related incident: cds-snc/notification-api#1912."""
    settings.SMS_DELIVERY = "worker"
    mine, taken, reported = (queue_sms(f"077212345{number}", "x") for number in range(3))
    worker = Worker(Options(lease=5.0))
    for message in claim(worker.claimer, 3, 60.0):
        job = Job(message, partial(send_conversation, message, worker.config), until=float("inf"))
        worker.recorder.in_hand[message.pk] = job
        getattr(worker.engine, where).append(job)
    SmsMessage.objects.filter(pk=taken.pk).update(claim="another")
    SmsMessage.objects.filter(pk=reported.pk).update(status="delivered")
    worker._keep_leases()
    assert worker.engine.leases_hold_until > clock.monotonic() + 4
    worker._first_ended = -1.0  # The worker then takes ended jobs at once.
    worker._take_ended()
    worker._offer()
    worker.engine.tokens.start()
    worker.engine.start()
    wait_for(lambda: len(worker.engine.ended) == 3)
    worker._first_ended = -1.0
    worker._take_ended()
    worker.recorder.write()
    worker.engine.quit(5)
    assert dict(SmsMessage.objects.values_list("pk", "status")) == {
        mine.pk: "sent", taken.pk: "sending", reported.pk: "delivered",
    }  # fmt: skip
    assert len(sandbox.inbox()) == 1
    assert worker.recorder.in_hand == {}


@pytest.mark.django_db
def test_only_what_is_still_ours_is_renewed() -> None:
    assert renew_leases("me", [], 5.0) == set()
    row = SmsMessage.objects.create(
        phone="+256772123456", text="x", status="sending", claim="me", expires_at=timezone.now() + timedelta(hours=1)
    )
    assert renew_leases("me", [row.pk, row.pk + 1], 5.0) == {row.pk}
    assert renew_leases("you", [row.pk], 5.0) == set()


@pytest.mark.django_db
def test_ten_thousand_leases_are_all_freed() -> None:
    """Incident elsewhere: in riverqueue/river#1318, a page of long jobs kept the jobs behind it from being rescued."""
    past = timezone.now() - timedelta(minutes=1)
    SmsMessage.objects.bulk_create(
        SmsMessage(phone="+256772123456", text="x", status="sending", claim="dead", lease_until=past, expires_at=past)
        for _ in range(10_000)
    )
    assert free_leases_over_before(clock.read()) == 10_000


@pytest.mark.django_db
def test_the_log_record_of_freed_leases_has_their_number(caplog: Any) -> None:
    past = timezone.now() - timedelta(minutes=1)
    for _ in range(2):
        SmsMessage.objects.create(
            phone="+256772123456", text="x", status="sending", claim="dead", lease_until=past, expires_at=past
        )
    ExpiredLeaseReaper(5.0).look()
    [record] = (one for one in caplog.records if one.name == "sms.worker")
    assert (record.event, record.messages) == ("sms.reclaimed", 2)


@pytest.mark.django_db
def test_a_crash_frees_its_reference(sandbox: Sandbox, settings: Any) -> None:
    """Incident elsewhere: in oban-bg/oban#424 and #364, a unique job never ran again after its process had died."""
    settings.SMS_DELIVERY = "worker"
    message = queue_sms("0772123456", "x", dedupe_key="session:1:2")
    claim("dead", 1, -1.0)
    assert queue_sms("0772123456", "x", dedupe_key="session:1:2").pk == message.pk
    free_leases_over_before(clock.read())
    assert [claimed.pk for claimed in claim("next", 1, 5.0)] == [message.pk]


class FakeTime:
    """The monotonic clock and the database's clock, moved by the test."""

    def __init__(self, monkeypatch: Any) -> None:
        self.monotonic, self.database = 1000.0, datetime(2030, 1, 1, tzinfo=zones.utc)
        monkeypatch.setattr(clock, "monotonic", lambda: self.monotonic)
        monkeypatch.setattr(clock, "read", lambda: self.database)
        self.freed: list[datetime] = []
        monkeypatch.setattr("sms.sending.claims.free_leases_over_before", self._free)

    def _free(self, limit: datetime, *conditions: Q) -> int:
        self.freed.append(limit)
        return 0

    def passes(self, seconds: float) -> None:
        self.monotonic += seconds
        self.database += timedelta(seconds=seconds)


@pytest.mark.django_db
def test_a_lease_is_freed_if_it_was_over_one_lease_ago(monkeypatch: Any) -> None:
    time = FakeTime(monkeypatch)
    began, reaper = time.database, ExpiredLeaseReaper(15.0)
    reaper.look()
    time.passes(14)
    reaper.look()
    assert time.freed == [began - timedelta(seconds=15)]
    time.passes(1)
    reaper.look()
    # The limit is the time of the previous check, whatever happens to the clock in between.
    time.database += timedelta(hours=1)
    time.passes(15)
    reaper.look()
    assert time.freed[1:] == [began, began + timedelta(seconds=15)]


@pytest.mark.django_db
def test_nothing_is_freed_after_the_databases_clock_was_set_back() -> None:
    now = clock.read()
    over = {"lease_until": now - timedelta(seconds=5), "expires_at": now + timedelta(hours=1)}
    SmsMessage.objects.create(phone="+256772123456", text="x", status="sending", claim="me", **over)
    assert free_leases_over_before(now + timedelta(seconds=10)) == 0
    assert free_leases_over_before(now) == 1


@pytest.mark.django_db
def test_crashes_end_a_message_after_four_requests_that_had_begun(sandbox: Sandbox, settings: Any) -> None:
    """Before the fix, six kills caused six copies. Now the second and later requests are counted before they begin."""
    settings.SMS_DELIVERY = "worker"
    message = queue_sms("0772123456", "x")
    for begun in range(1, 5):
        claim("killed", 1, -1.0)
        if begun > 1:
            assert count_ahead("killed", [message.pk]) == {message.pk}
            assert count_ahead("another", [message.pk]) == set()
        assert free_leases_over_before(clock.read()) == 1
        message.refresh_from_db()
        assert (message.status, message.ambiguous_requests) == ("queued", begun)
    assert Worker(Options(once=True)).run()
    message.refresh_from_db()
    assert (message.status, sandbox.sends) == ("unknown", 0)
    assert "sent 4 times without a complete answer" in message.error


@pytest.mark.django_db
def test_crashes_do_not_end_a_message_that_only_waits(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    message = queue_sms("0772123456", "x")
    for _ in range(6):
        claim("killed", 1, -1.0)
        assert free_leases_over_before(clock.read()) == 1
        message.refresh_from_db()
        assert (message.status, message.ambiguous_requests) == ("queued", 1)
    assert Worker(Options(once=True)).run()
    message.refresh_from_db()
    assert (message.status, message.ambiguous_requests, sandbox.sends) == ("sent", 1, 1)


def test_postgresql_hangs_under_two_workers(on_postgres: System, postgres: Postgres) -> None:
    """Incident elsewhere: in hexpm/hexpm#1825, a rescue by elapsed time ran live jobs again, a few each night."""
    on_postgres.sandbox.faults(latency_ms=150)
    on_postgres.queue(400)
    for _ in range(2):
        on_postgres.worker("--in-flight", "16")
    wait_for(lambda: on_postgres.arrived() >= 50, 60)
    postgres.hang()
    try:
        time.sleep(6)  # three leases
    finally:
        postgres.go_on()
    wait_for(lambda: on_postgres.counts() == {"sent": 400}, 60, every=0.2)
    assert set(on_postgres.texts().values()) == {1}


def test_who_comes_back_first_from_a_stall_leaves_the_other_its_texts(on_postgres: System) -> None:
    """The connections of two workers stall for three leases.

    The worker that continues first must not take the other's messages.
    """
    on_postgres.sandbox.faults(latency_ms=150)
    on_postgres.queue(600)
    backends: list[set[int]] = []
    for count in (1, 2):
        on_postgres.worker("--in-flight", "16")
        wait_for(lambda count=count: on_postgres.sql(f"SELECT 1 FROM sms_smsworker HAVING count(*) = {count}"), 60)
        known = set().union(*backends)
        backends.append({pid for (pid,) in on_postgres.sql(BACKENDS)} - known)
    wait_for(lambda: on_postgres.arrived() >= 100, 60)
    signal_all(backends[0] | backends[1], signal.SIGSTOP)
    time.sleep(6)
    signal_all(backends[0], signal.SIGCONT)
    time.sleep(1)  # less than a lease
    signal_all(backends[1], signal.SIGCONT)
    wait_for(lambda: on_postgres.counts() == {"sent": 600}, 90, every=0.2)
    assert set(on_postgres.texts().values()) == {1}


BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def signal_all(pids: set[int], what: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, what)


def test_a_worker_that_stands_still(on_postgres: System) -> None:
    """Another worker sends the messages that a suspended worker had claimed.

    When the suspended worker continues, it sends only messages that it had begun. Incidents elsewhere:
    hexpm/hexpm#1825, cds-snc/notification-api#1912.
    """
    on_postgres.sandbox.faults(latency_ms=150)
    on_postgres.queue(500)
    still = on_postgres.worker("--in-flight", "8", "--batch", "200")
    wait_for(lambda: on_postgres.arrived() >= 20, 60)
    other = on_postgres.worker()
    wait_for(lambda: on_postgres.sql("SELECT 1 FROM sms_smsworker HAVING count(*) = 2"), 60)
    still.send_signal(signal.SIGSTOP)
    wait_for(lambda: on_postgres.arrived() == 500, 60)
    still.send_signal(signal.SIGCONT)
    wait_for(lambda: on_postgres.counts() == {"sent": 500}, 60, every=0.2)
    time.sleep(1)
    assert sum(on_postgres.texts().values()) - 500 <= 8 + 50 < IN_FLIGHT
    for worker in (still, other):
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0


def test_a_lease_that_a_lock_has_kept_from_renewal_is_not_freed_at_once(on_postgres: System) -> None:
    """A lease cannot be renewed while another transaction has locked its row.

    Before the fix, a worker freed the message of another running worker just after the lock, and sent it again.
    """
    code = """if True:
        import os
        import django
        import psycopg
        django.setup()
        from django.db import connection
        from sms.models import SmsMessage
        from sms.sending.claims import ExpiredLeaseReaper, claim

        connection.cursor().execute("SET lock_timeout = '5s'")

        reaper, statuses = ExpiredLeaseReaper(15.0), []

        def look():
            reaper.next_look = 0.0
            reaper.look()
            statuses.append(SmsMessage.objects.get().status)

        def look_while_locked(strength="UPDATE"):
            with psycopg.connect(os.environ["DATABASE_URL"]) as lock:
                lock.execute(f"SELECT 1 FROM sms_smsmessage FOR {strength}")
                look()

        look()
        claim("me", 1, -60.0)
        for step in (look_while_locked, look_while_locked, look, look_while_locked, look, look):
            step()
        assert statuses == ["queued", *["sending"] * 5, "queued"], statuses

        # Another transaction inserts an event of the message. This prevents no renewal, so the lease is freed.
        claim("me", 1, -60.0)
        look_while_locked("KEY SHARE")
        look_while_locked("KEY SHARE")
        assert statuses[-2:] == ["sending", "queued"], statuses
    """
    on_postgres.queue(1)
    preloaded.run(["-c", code], env=on_postgres.environment, check=True)
