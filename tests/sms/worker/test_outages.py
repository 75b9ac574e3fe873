"""The database, the cache or a receiver fails or is slow. No message is lost, and none is sent twice."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.db import connection

from sms.models import SmsMessage
from sms.outbox import queue_sms
from sms.signals import sms_failed, sms_sent
from sms.worker import background
from sms.worker.worker import Options, Worker
from tests.conftest import Postgres, RedisServer, Sandbox, wait_for
from tests.preloaded import Process
from tests.sms.worker.test_leases import signal_all
from tests.system import ROOT, System


def test_postgresql_and_redis_restarted_under_the_worker(
    on_postgres: System, postgres: Postgres, redis_server: RedisServer
) -> None:
    """Incident elsewhere: after a database outage, graphile/worker v0.17.0 looked healthy but had partly stopped."""
    on_postgres.environment |= {"REDIS_URL": redis_server.url, "SMS_RATE_LIMIT_SECONDS": "1"}
    on_postgres.sandbox.faults(latency_ms=50)
    on_postgres.queue(500)
    worker = on_postgres.worker("--maintenance", "0.5")
    wait_for(lambda: on_postgres.arrived() >= 100, 60)
    redis_server.stop()
    wait_for(lambda: on_postgres.arrived() >= 200, 60)
    postgres.stop()
    time.sleep(1.5)
    postgres.start()
    redis_server.start()
    wait_for(lambda: on_postgres.arrived() == 500, 60)
    wait_for(lambda: on_postgres.counts() == {"sent": 500}, 60, every=0.2)
    assert worker.poll() is None
    # The results that could not be stored during the outage were stored after it.
    assert set(on_postgres.texts().values()) == {1}
    # The listener, the heartbeat and the maintenance thread work again.
    beat = on_postgres.sql("SELECT max(seen_at) FROM sms_smsworker")
    on_postgres.sql("UPDATE sms_smsmessage SET holds_link = true, expires_at = now() - interval '1 minute'")
    on_postgres.queue(1, start=900)
    wait_for(lambda: on_postgres.arrived() == 501, 10)
    wait_for(lambda: on_postgres.sql("SELECT max(seen_at) FROM sms_smsworker") > beat, 60)
    wait_for(lambda: on_postgres.sql("SELECT count(*) FROM sms_smsmessage WHERE holds_link") == [(0,)], 60)


def test_a_hung_backend_is_left_and_does_not_delay_the_end(on_postgres: System, tmp_path: Path) -> None:
    """A suspended backend does not respond, but its kernel acknowledges all data.

    Before the fix, no request was sent for 45 s, and the worker still ran 40 s after a SIGTERM.
    """
    said = tmp_path / "stderr"
    with said.open("wb") as file:
        worker = on_postgres.worker("--poll", "0.2", stderr=file)
        wait_for(lambda: on_postgres.sql("SELECT 1 FROM sms_smsworker"), 60)
        listening = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        stopped = {pid for (pid,) in on_postgres.sql(listening)}
        signal_all(stopped, signal.SIGSTOP)
        try:
            on_postgres.queue(50)
            wait_for(lambda: on_postgres.arrived() == 50, 20)
            assert "sms.database_hangs" in said.read_text()
            backends = {pid for (pid,) in on_postgres.sql(listening)} - stopped
            signal_all(backends, signal.SIGSTOP)
            stopped |= backends
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0
        finally:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
    assert set(on_postgres.texts().values()) == {1}


def test_maintenance_that_hangs_delays_the_end_of_a_pause_by_its_timeout(on_postgres: System, tmp_path: Path) -> None:
    """Before the fix, the maintenance thread waited without a limit, and the messages of an ended pause expired."""
    on_postgres.sql("INSERT INTO sms_smshold (kind, reason, actor, since) VALUES ('a', 'test', '', now())")
    on_postgres.queue(3, kind="a")
    start = tmp_path / "start.py"
    start.write_text(f"""if True:
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        import django
        django.setup()
        from django.core.management import call_command
        from sms.worker import background
        background._POLL_SECONDS = 1.0
        call_command("sms_worker", maintenance=0.2)
    """)
    on_postgres.workers.append(Process([str(start)], env=on_postgres.environment))
    parked = "SELECT 1 FROM sms_smsmessage WHERE lease_until IS NOT NULL HAVING count(*) = 3"
    wait_for(lambda: on_postgres.sql(parked), 60)
    with psycopg.connect(on_postgres.database) as lock:
        lock.execute("LOCK TABLE sms_smsalert")
        wait_for(lambda: on_postgres.sql("SELECT 1 FROM pg_locks WHERE NOT granted"), 20)
        on_postgres.sql("DELETE FROM sms_smshold")
        wait_for(lambda: on_postgres.counts() == {"sent": 3}, 20)


def test_a_locked_row_delays_no_other_message_of_a_pause(on_postgres: System) -> None:
    """Before the fix, no message of an ended pause was released while another transaction had locked one of them."""
    on_postgres.sql("INSERT INTO sms_smshold (kind, reason, actor, since) VALUES ('a', 'test', '', now())")
    on_postgres.queue(3, kind="a")
    on_postgres.worker("--maintenance", "0.2")
    parked = "SELECT 1 FROM sms_smsmessage WHERE lease_until IS NOT NULL HAVING count(*) = 3"
    wait_for(lambda: on_postgres.sql(parked), 60)
    with psycopg.connect(on_postgres.database) as lock:
        lock.execute("SELECT 1 FROM sms_smsmessage LIMIT 1 FOR UPDATE")
        on_postgres.sql("DELETE FROM sms_smshold")
        wait_for(lambda: on_postgres.counts() == {"sent": 2, "queued": 1}, 20)
    wait_for(lambda: on_postgres.counts() == {"sent": 3}, 20)


def test_a_locked_row_delays_no_other_message(on_postgres: System, tmp_path: Path) -> None:
    """Before the fix, both workers sent nothing while another transaction had locked one of their messages."""
    on_postgres.environment["SMS_LEASE_SECONDS"] = "3"
    on_postgres.sandbox.faults(latency_ms=100)
    on_postgres.queue(200)
    with (tmp_path / "stderr").open("wb") as said:
        for _ in range(2):
            on_postgres.worker("--in-flight", "8", stderr=said)
    wait_for(lambda: on_postgres.arrived() >= 20, 60)
    with psycopg.connect(on_postgres.database) as lock:
        lock.execute("SELECT 1 FROM sms_smsmessage WHERE status = 'sending' LIMIT 1 FOR UPDATE SKIP LOCKED")
        wait_for(lambda: on_postgres.counts() == {"sent": 199, "sending": 1}, 20, every=0.2)
        # The locked row's lease cannot be renewed. Wait until both workers have tried to free it.
        over = "SELECT 1 FROM sms_smsmessage WHERE lease_until < clock_timestamp() - interval '7 seconds'"
        wait_for(lambda: on_postgres.sql(over), 30, every=0.2)
        on_postgres.queue(5, start=500)
        wait_for(lambda: on_postgres.counts() == {"sent": 204, "sending": 1}, 5, every=0.2)
        assert "sms.lease_lost" not in (tmp_path / "stderr").read_text()
    assert set(on_postgres.texts().values()) == {1}


def test_the_result_of_a_row_that_was_locked_is_stored_before_the_worker_ends(on_postgres: System) -> None:
    """Before the fix, the worker ran for 26 s more, lost the result, and the message was sent twice."""
    on_postgres.environment["SMS_LEASE_SECONDS"] = "3"
    on_postgres.sandbox.faults(latency_ms=1500)
    on_postgres.queue(1)
    worker = on_postgres.worker()
    wait_for(lambda: on_postgres.counts() == {"sending": 1}, 60)
    with psycopg.connect(on_postgres.database) as lock:
        lock.execute("SELECT 1 FROM sms_smsmessage FOR UPDATE")
        # The worker gives up its statement after two seconds, and sets the result aside.
        wait_for(lambda: on_postgres.arrived() == 1, 20)
        time.sleep(6)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert on_postgres.counts() == {"sent": 1}


def test_a_postgresql_that_hangs_and_cannot_cancel_stops_no_thread() -> None:
    """Before the fix, psycopg held the GIL while it waited, so all requests stopped, and SIGTERM had no effect."""
    code = """if True:
        import socket, struct, threading, types
        import django
        import psycopg
        django.setup()
        from sms.worker import background

        server = socket.create_server(("127.0.0.1", 0))

        def serve():
            client, _ = server.accept()
            client.recv(1000)
            for kind, body in ((b"R", bytes(4)), (b"K", bytes(8)), (b"Z", b"I")):
                client.sendall(kind + struct.pack("!i", len(body) + 4) + body)
            assert client.recv(1000) == b"", "the connection is closed"

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        raw = psycopg.connect(host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")
        background._shut_down(types.SimpleNamespace(vendor="postgresql", connection=raw))
        thread.join()
    """
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30)


def test_an_old_libpq_cancels_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Before version 17, to cancel a statement could block all threads. The connection is closed anyway."""
    canceled: list[float] = []

    class Raw:
        pgconn = object()  # It has no `cancel_conn`.

        def fileno(self) -> int:
            return here.fileno()

        def cancel_safe(self, timeout: float) -> None:
            canceled.append(timeout)

    here, there = socket.socketpair()
    with here, there:
        background._shut_down(SimpleNamespace(vendor="postgresql", connection=Raw()))
        assert (there.recv(1), canceled) == (b"", [])
    assert "sms.not_canceled: AttributeError" in caplog.text


def test_a_record_that_the_database_refuses(on_postgres: System) -> None:
    """The database refuses the result of message 3, and DMark's response to message 5.

    The other results are stored, and no message is sent again.
    """
    on_postgres.sql("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF new.text = 'text 3' AND new.status = 'sent' OR new.text = 'text 5' AND new.provider_id <> ''
            THEN RAISE 'refused'; END IF; RETURN new; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON sms_smsmessage FOR EACH ROW EXECUTE FUNCTION refuse()
    """)
    on_postgres.queue(60)
    on_postgres.worker()
    wait_for(lambda: on_postgres.counts() == {"sent": 59, "sending": 1}, 60, every=0.2)
    # After more than one lease, the worker still has the claim on message 3.
    time.sleep(3)
    assert on_postgres.counts() == {"sent": 59, "sending": 1}
    assert set(on_postgres.texts().values()) == {1}
    events = "SELECT count(*) FROM sms_smsevent WHERE step = 'send'"
    assert on_postgres.sql(events) == [(58,)]
    assert on_postgres.sql("SELECT provider_id <> '' FROM sms_smsmessage WHERE text = 'text 5'") == [(False,)]


def test_a_refused_record_does_not_stop_the_probes(on_postgres: System) -> None:
    """Before the fix, the worker sent no more messages after DMark had refused the token, until it was restarted."""
    on_postgres.sql("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF new.text = 'text 0' AND new.status = 'sent' THEN RAISE 'refused'; END IF; RETURN new; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON sms_smsmessage FOR EACH ROW EXECUTE FUNCTION refuse()
    """)
    on_postgres.queue(1)
    on_postgres.worker()
    wait_for(lambda: on_postgres.arrived() == 1, 60)
    on_postgres.sandbox.faults(send="401")
    on_postgres.queue(5, start=1)
    wait_for(lambda: on_postgres.sql("SELECT 1 FROM sms_smsworker WHERE trouble = 'credentials'"), 20)
    on_postgres.sandbox.faults(send="ok")
    wait_for(lambda: on_postgres.counts() == {"sent": 5, "sending": 1}, 30, every=0.2)
    assert set(on_postgres.texts().values()) == {1}


@pytest.mark.django_db(transaction=True)
def test_slow_receivers_keep_neither_the_sending_nor_the_leases_waiting(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    for number in range(30):
        queue_sms(f"07721234{number:02}", "x")
    told: list[tuple[str, int]] = []
    go_on = threading.Event()

    def slow(message: SmsMessage, **_: Any) -> None:
        assert go_on.wait(20)
        told.append((message.status, message.pk))

    sms_sent.connect(slow)
    worker = Worker(Options(poll=0.1))
    thread = threading.Thread(target=run, args=(worker,))
    thread.start()
    try:
        wait_for(lambda: SmsMessage.objects.filter(status="sent").count() == 30)
        assert told == []
        go_on.set()
        wait_for(lambda: len(told) == 30)
    finally:
        go_on.set()
        worker.stop()
        thread.join(30)
        sms_sent.disconnect(slow)
    assert {status for status, _ in told} == {"sent"}
    assert len(set(told)) == 30


@pytest.mark.django_db(transaction=True)
def test_receivers_are_told_before_once_ends(sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_DELIVERY = "worker"
    sandbox.faults(send="400")
    queue_sms("0772123456", "x")
    told: list[str] = []

    def receiver(message: SmsMessage, **_: Any) -> None:
        time.sleep(0.2)
        told.append(message.status)

    sms_failed.connect(receiver)
    try:
        assert Worker(Options(once=True)).run()
    finally:
        sms_failed.disconnect(receiver)
    assert told == ["failed"]


def run(worker: Worker) -> None:
    worker.run()
    connection.close()


def test_a_serialization_failure_is_no_outage(on_postgres: System, tmp_path: Path) -> None:
    """Before the fix, it counted as a lost database: the connection was closed and an error was logged."""
    on_postgres.sql("CREATE SEQUENCE conflicts")
    on_postgres.sql("""CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('conflicts') <= 3 THEN RAISE SQLSTATE '40001'; END IF; RETURN NULL; END $$""")
    on_postgres.sql("""CREATE TRIGGER conflict AFTER UPDATE ON sms_smsmessage
        FOR EACH STATEMENT EXECUTE FUNCTION conflict()""")
    on_postgres.queue(20)
    said = tmp_path / "stderr"
    with said.open("wb") as file:
        on_postgres.worker("--poll", "0.1", stderr=file)
        wait_for(lambda: on_postgres.counts() == {"sent": 20}, 60)
    assert set(on_postgres.texts().values()) == {1}
    assert "sms.database_conflict" in said.read_text()
    assert "sms.database_lost" not in said.read_text()
