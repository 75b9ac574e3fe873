"""The worker as a process: one or several workers, stopped or killed, with a healthy or a failing provider."""

import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.delivery import cpu
from sms.worker.breaker import ENOUGH
from tests.audit import IN_FLIGHT, UNWRITTEN
from tests.conftest import RedisServer, Sandbox, wait_for
from tests.system import System, sqlite_database


def test_once(system: System) -> None:
    system.queue(150)
    system.queue(1, start=900, life=-1)
    done = system.manage("sms_worker", "--once")
    assert "done" in done.stdout
    assert system.counts() == {"sent": 150, "expired": 1}
    assert set(system.texts().values()) == {1}


def test_once_releases_parked_messages(system: System) -> None:
    """A worker has parked them and has ended. The pause was deleted without Django."""
    system.queue(2)
    system.queue(1, start=900, life=-1)
    system.sql("UPDATE sms_smsmessage SET lease_until = expires_at")
    system.manage("sms_worker", "--once")
    assert system.counts() == {"sent": 2, "expired": 1}


def test_once_ends_where_the_table_is_missing(system: System) -> None:
    """A cron job that waits for a migration would wait unnoticed. Incident elsewhere: graphile/worker v0.17.0."""
    system.sql("ALTER TABLE sms_smsmessage RENAME TO moved")
    ended = system.manage("sms_worker", "--once", check=False)
    assert ended.returncode == 1
    assert "run manage.py migrate" in ended.stderr


def test_once_ends_where_the_database_is_away(sandbox: Sandbox) -> None:
    system = System("postgres://postgres@127.0.0.1:9/nothing", sandbox)
    ended = system.manage("sms_worker", "--once", check=False)
    assert ended.returncode == 1
    assert "out of reach" in ended.stderr


def test_kill_9_loses_nothing(system: System) -> None:
    """Incidents elsewhere: a restart sent a whole batch again (hypothesis/lms#5346, alphagov/notifications-api#474).

    A new worker on the same machine has a new id, so the messages of the killed worker are freed (related:
    oban-bg/oban#862).
    """
    system.sandbox.faults(latency_ms=40)
    system.queue(600)
    kills = 2
    for kill in range(1, kills + 1):
        worker = system.worker()
        wait_for(lambda reached=kill * 200: system.arrived() >= reached, 60)
        worker.kill()
        worker.wait()
    system.worker()
    wait_for(lambda: system.counts() == {"sent": 600}, 60, every=0.2)
    assert system.arrived() == 600
    doubles = sum(system.texts().values()) - 600
    assert doubles <= kills * (IN_FLIGHT + UNWRITTEN)


def test_sigterm_ends_what_is_in_flight_and_doubles_nothing(system: System) -> None:
    """Incidents elsewhere: in celery/celery#4002 and #3270, a shutdown caused duplicates."""
    system.sandbox.faults(latency_ms=100)
    system.queue(600)
    worker = system.worker()
    wait_for(lambda: system.arrived() >= 100, 60)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    counts = system.counts()
    assert counts["sending"] == 0
    assert counts["sent"] + counts["queued"] == 600
    assert counts["sent"] == len(system.texts())
    assert set(system.texts().values()) == {1}


def test_sigterm_while_the_provider_hangs(system: System) -> None:
    """Before the fix, the main thread did not sleep while it waited for the last responses: 12,428 rounds in 1.9 s."""
    system.sandbox.faults(send="hang", hang_seconds=8)
    system.queue(500)
    worker = system.worker()
    wait_for(lambda: system.sandbox.sends > 0, 60)
    before = used = cpu(worker.pid)
    worker.send_signal(signal.SIGTERM)
    while worker.poll() is None:
        with suppress(FileNotFoundError, ProcessLookupError):
            used = cpu(worker.pid)
        time.sleep(0.05)
    assert used - before < 1.5
    assert worker.wait(30) == 0
    assert system.counts()["sending"] == 0


def test_sigterm_between_two_tries(system: System) -> None:
    system.sandbox.faults(send="429", retry_after=2)
    system.queue(1)
    worker = system.worker()
    wait_for(lambda: system.sandbox.sends > 0, 60)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert system.counts() == {"queued": 1}
    assert system.sandbox.sends == 1


def test_two_workers_share_the_table(system: System) -> None:
    system.sandbox.faults(latency_ms=20)
    system.queue(300)
    system.worker()
    system.worker()
    wait_for(lambda: system.counts() == {"sent": 300}, 60, every=0.2)
    assert set(system.texts().values()) == {1}


def test_eight_workers_share_the_table(on_postgres: System) -> None:
    """Incidents elsewhere: without SKIP LOCKED, one mail was sent dozens of times (ui/django-post_office#326, #330)."""
    on_postgres.sandbox.faults(latency_ms=5)
    on_postgres.queue(800)
    for _ in range(8):
        on_postgres.worker("--batch", "16", "--in-flight", "8")
    wait_for(lambda: on_postgres.counts() == {"sent": 800}, 120, every=0.5)
    assert set(on_postgres.texts().values()) == {1}


def test_a_provider_that_is_down_is_not_hammered_and_comes_back(system: System) -> None:
    system.sandbox.faults(send="503")
    system.queue(300)
    system.worker()
    wait_for(lambda: system.sandbox.sends > 60, 60)
    time.sleep(4)
    # Each message that had begun before the breaker opened has up to three requests. After that there are only probes.
    # The breaker opens after ENOUGH results. If a few results are stored before, as many further messages begin.
    assert system.sandbox.sends <= 3 * (IN_FLIGHT + UNWRITTEN + ENOUGH + 5)
    assert system.counts()["queued"] + system.counts()["sending"] == 300
    system.sandbox.faults(send="ok")
    wait_for(lambda: system.arrived() == 300, 60)
    assert set(system.texts().values()) == {1}


def test_refused_credentials_do_not_burn_the_queue(system: System) -> None:
    system.sandbox.faults(token="401")
    system.queue(200)
    system.worker()
    wait_for(lambda: system.sandbox.token_requests >= 2, 60)
    assert system.sandbox.token_requests < 80
    wait_for(lambda: system.counts() == {"queued": 200}, 60, every=0.3)
    assert system.sandbox.sends == 0
    once = system.manage("sms_worker", "--once", check=False)
    assert once.returncode == 1
    assert "credentials" in once.stderr
    system.sandbox.faults(token="ok")
    wait_for(lambda: system.arrived() == 200, 60)


def test_expired_while_it_waited(system: System) -> None:
    system.sandbox.faults(send="503")
    system.queue(2, life=4)
    system.worker()
    wait_for(lambda: system.counts() == {"expired": 2}, 60, every=0.5)
    system.sandbox.faults(send="ok")
    assert system.texts() == {}


def test_a_slow_provider_is_asked_at_most_four_times(on_postgres: System) -> None:
    """Incidents elsewhere: one message was sent 28 times while the next server was slow (jookies/jasmin#657).

    In alphagov/notifications-api#802, a message arrived although the request had timed out.
    """
    on_postgres.environment |= {"SMS_CONNECT_TIMEOUT": "0.3", "SMS_READ_TIMEOUT": "0.6"}
    on_postgres.sandbox.faults(send="hang", hang_seconds=1.5)
    on_postgres.queue(3)
    on_postgres.worker()
    wait_for(lambda: on_postgres.sandbox.sends == 6, 60)
    # Two requests follow each other at once. The third one is due a minute later.
    time.sleep(2)
    assert on_postgres.sandbox.sends == 6
    assert [row[0] for row in on_postgres.sql("SELECT doubts FROM sms_smsmessage")] == [2, 2, 2]
    # Skip the delays of one and five minutes. One message gets a delivery report in the meantime.
    (reported,) = on_postgres.sql("SELECT id FROM sms_smsmessage ORDER BY id LIMIT 1")[0]
    on_postgres.sql("UPDATE sms_smsmessage SET status = 'sent' WHERE id = ?", reported)
    for doubts in (3, 4):
        on_postgres.sql("UPDATE sms_smsmessage SET due_at = now() WHERE status = 'queued'")
        done = [(doubts,)] * 2
        ended = "SELECT doubts FROM sms_smsmessage WHERE status NOT IN ('sending', 'sent')"
        wait_for(lambda done=done, ended=ended: on_postgres.sql(ended) == done, 20)
    wait_for(lambda: on_postgres.counts() == {"unknown": 2, "sent": 1}, 20, every=0.2)
    assert on_postgres.sandbox.sends == 10


def test_an_answer_later_than_the_connect_timeout_is_waited_for(system: System) -> None:
    """Before the fix, the connect timeout also limited the response, and a message was sent thirteen times."""
    system.environment |= {"SMS_CONNECT_TIMEOUT": "0.3", "SMS_READ_TIMEOUT": "4"}
    system.sandbox.faults(latency_ms=1000)
    system.queue(5)
    system.worker()
    wait_for(lambda: system.counts() == {"sent": 5}, 60, every=0.2)
    assert system.sandbox.sends == 5


def test_a_refused_account_costs_no_text(on_postgres: System) -> None:
    """DMark refuses ten messages with the same words before the worker knows that the account is refused."""
    on_postgres.sandbox.faults(send="400")
    on_postgres.queue(40)
    on_postgres.worker("--in-flight", "4")
    wait_for(lambda: on_postgres.sql("SELECT trouble FROM sms_smsworker") == [("account",)], 60)
    wait_for(lambda: on_postgres.counts() == {"queued": 40}, 60, every=0.1)
    on_postgres.sandbox.faults(send="ok")
    wait_for(lambda: on_postgres.counts() == {"sent": 40}, 60, every=0.2)
    assert set(on_postgres.texts().values()) == {1}


@pytest.mark.parametrize("cache", ["local memory", "redis"])
def test_the_rate_limit_holds_back_and_loses_nothing(
    tmp_path: Path, sandbox: Sandbox, redis_server: RedisServer, cache: str
) -> None:
    system = System(sqlite_database(tmp_path / "worker.sqlite3"), sandbox, SMS_RATE_LIMIT_SECONDS="3")
    if cache == "redis":
        system.environment["REDIS_URL"] = redis_server.url
    for _ in range(2):
        system.queue(20)  # the same twenty phone numbers
    system.manage("sms_worker", "--once")
    assert set(system.texts().values()) == {1}
    assert system.counts() == {"sent": 20, "queued": 20}
    system.worker("--poll", "0.2")
    try:
        wait_for(lambda: sandbox.counts()["texts"]["taken"] == 40, 60)
        wait_for(lambda: system.counts() == {"sent": 40}, 60, every=0.5)
    finally:
        system.close()


def test_what_waits_behind_a_slow_provider_asks_the_throttle_again(
    on_postgres: System, redis_server: RedisServer
) -> None:
    """Two messages are in flight, 600 ms each. The last of twelve begin after their rate-limit keys have expired."""
    on_postgres.environment |= {"SMS_RATE_LIMIT_SECONDS": "1", "REDIS_URL": redis_server.url}
    on_postgres.sandbox.faults(latency_ms=600)
    on_postgres.queue(12)
    on_postgres.worker("--in-flight", "2")
    wait_for(lambda: on_postgres.counts() == {"sent": 12}, 60, every=0.2)
    assert set(on_postgres.texts().values()) == {1}


def test_without_credentials_it_refuses_to_start(system: System) -> None:
    system.environment["SMS_SERVICE_PASSWORD"] = ""
    ended = system.manage("sms_worker", "--once", check=False)
    assert ended.returncode == 1
    assert "SMS_SERVICE_PASSWORD" in ended.stderr


def test_what_is_in_flight_can_be_seen(on_postgres: System, tmp_path: Path) -> None:
    on_postgres.sandbox.faults(send="hang", hang_seconds=3)
    on_postgres.queue(3, kind="match_found")
    heard = tmp_path / "stderr"
    with heard.open("wb") as file:
        worker = on_postgres.worker("--in-flight", "2", stderr=file)
        wait_for(lambda: on_postgres.sandbox.sends == 2, 60)
        worker.send_signal(signal.SIGUSR1)
        wait_for(lambda: "in hand" in heard.read_text())
    said = heard.read_text()
    assert "3 in hand, 1 of them not begun" in said
    assert said.count("(match_found) to +25677****00") == 3
    assert said.count("no answer yet, for ") == 2
    assert "text 0" not in said
