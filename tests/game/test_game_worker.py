"""`game_worker` as a real process: alone, with others, killed, stopped, and with failing parts."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Postgres, RedisServer, Sandbox, wait_for
from tests.preloaded import Process
from tests.system import System, postgres_database, sqlite_database

pytestmark = pytest.mark.slow

# A process that places stakes like the API and prints the transaction id of each.
STAKE = """
from game.rules.placing import Stake, place
for number in range({start}, {start} + {count}):
    stake = Stake(f"+25678{{number:07}}", {amount} + number * {step})
    print("PLACED", place(stake).entry.payment.transaction_id)
"""
# Stakes that were paid by callback, at different levels, and have expired.
OVER = """
from datetime import timedelta
from django.utils import timezone
from game.models import Entry
from game.rules.placing import Stake, place
from tests.payments.helpers import settle
for number in range({count}):
    entry = place(Stake(f"+25678{{number:07}}", 1000 + number)).entry
    settle(entry.payment_id, "SUCCESS", by="callback")
Entry.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
"""
# A stake that was paid by callback, with the short lock timeout of a site process.
PAID_UNDER_A_LOCK = """
from django.db import connection
from game.rules.placing import Stake, place
from tests.payments.helpers import settle
connection.cursor().execute("SET lock_timeout = '200ms'")
entry = place(Stake("+256780000001", 1000)).entry
print("ERROR", settle(entry.payment_id, "SUCCESS", by="callback").use_error)
"""
LOOK = {
    "entries": "SELECT status, COUNT(*) FROM game_entry GROUP BY status",
    "collections": "SELECT collection, COUNT(*) FROM payments_payment GROUP BY collection",
    "texts": "SELECT kind, COUNT(*) FROM sms_smsmessage GROUP BY kind",
    "workers": "SELECT 'all', COUNT(*) FROM game_gameworker",
}


class Game(System):
    """A database, a sandbox with phones, and game workers."""

    def __init__(self, database: str, sandbox: Sandbox) -> None:
        super().__init__(
            database,
            sandbox,
            MOMO_AUTO_APPROVE="false",
            DMARK_PAY_BASE_URL=sandbox.url,
            DMARK_PAY_USERNAME="collector",
            DMARK_PAY_PASSWORD="collection-password-9152",
            DMARK_PAY_ACCOUNT_CODE="ACC-77",
            DMARK_PAY_TIMEOUT="2",
            UNPAID_STAKES_PER_ADDRESS_HOUR="100000",
        )
        sandbox.faults(callback="never")

    def start(self, *arguments: str, log: Path = Path(os.devnull)) -> Process:
        with log.open("ab") as stderr:
            command = ["manage.py", "game_worker", *arguments]
            process = Process(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=stderr)
        self.workers.append(process)
        return process

    def look(self, what: str) -> dict[str, int]:
        return dict(self.sql(LOOK[what]))

    def alive(self) -> None:
        wait_for(lambda: self.look("workers")["all"] == 1, 60)

    def stake(self, count: int, start: int = 0, step: int = 1) -> list[str]:
        code = STAKE.format(start=start, count=count, amount=1000, step=step)
        out = self.manage("shell", "-v0", "-c", code).stdout
        return [line.split()[1] for line in out.splitlines() if line.startswith("PLACED")]

    def asked(self) -> dict[str, int]:
        return dict(self.sandbox.counts()["money"]["asked"]["payin"])


@pytest.fixture
def on_postgres(postgres: Postgres, sandbox: Sandbox) -> Iterator[Game]:
    game = Game(postgres_database(postgres), sandbox)
    yield game
    game.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def game(request: Any, sandbox: Sandbox, tmp_path: Path) -> Iterator[Game]:
    if request.param == "postgresql":
        yield request.getfixturevalue("on_postgres")
        return
    game = Game(sqlite_database(tmp_path / "game.sqlite3"), sandbox)
    yield game
    game.close()


def test_from_the_stake_to_the_match(game: Game) -> None:
    """The players pay on their phones, and no notification is sent: the worker does everything. Then it is stopped."""
    worker = game.start()
    game.alive()
    assert len(game.stake(2, step=0)) == 2
    prompts = wait_for(lambda: len(found := game.sandbox.prompts()) == 2 and found, 10)
    for prompt in prompts:
        game.sandbox.tap(prompt["sp_transaction_id"], "pay")
    wait_for(lambda: game.look("entries") == {"matched": 2}, 30)
    assert game.look("texts") == {"payment_success": 2, "match_found": 1}
    assert set(game.asked().values()) == {1}
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert game.look("workers") == {"all": 0}


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
def test_a_terminal_that_closes_ends_it_in_order(on_postgres: Game, number: int) -> None:
    worker = on_postgres.start()
    on_postgres.alive()
    worker.send_signal(number)
    assert worker.wait(30) == 0
    assert on_postgres.look("workers") == {"all": 0}


def _catches(process: Process, number: int) -> bool:
    """Return True if the process has installed a handler for this signal."""
    caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("count", [1, 5])
def test_a_signal_before_it_has_started_ends_it_in_order(on_postgres: Game, count: int) -> None:
    worker = on_postgres.start()
    wait_for(lambda: _catches(worker, signal.SIGHUP), every=0.001)
    for _ in range(count):
        worker.send_signal(signal.SIGHUP)
        time.sleep(0.02)
    assert worker.wait(30) == 0


def test_a_database_that_is_read_only_for_a_while_stops_nothing(on_postgres: Game, tmp_path: Path) -> None:
    """The database is read-only, as after a failover. The thread that expires stakes continues afterwards."""
    worker = on_postgres.start(log=tmp_path / "log")
    on_postgres.alive()
    name = on_postgres.sql("SELECT CURRENT_DATABASE()")[0][0]
    on_postgres.sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    on_postgres.sql("SELECT PG_TERMINATE_BACKEND(pid) FROM pg_stat_activity WHERE pid <> PG_BACKEND_PID()")
    wait_for(lambda: "game.database_lost" in (tmp_path / "log").read_text(), 30)
    time.sleep(2)
    on_postgres.sql(f'SET TRANSACTION READ WRITE; ALTER DATABASE "{name}" RESET ALL')
    on_postgres.manage("shell", "-v0", "-c", OVER.format(count=1))
    wait_for(lambda: on_postgres.look("entries") == {"expired": 1}, 30)
    assert worker.poll() is None


def test_an_idle_worker_hears_of_a_stake_at_once(on_postgres: Game) -> None:
    """The worker's next poll is an hour away, so only the NOTIFY after the commit can wake it."""
    on_postgres.start("--poll", "3600")
    on_postgres.alive()
    time.sleep(1)
    on_postgres.stake(1)
    wait_for(on_postgres.sandbox.prompts, 10)


def test_an_entry_whose_lock_timed_out_is_activated_a_second_after_the_lock_is_free(on_postgres: Game) -> None:
    on_postgres.sql("INSERT INTO game_stakelevel (amount) VALUES (1000)")
    on_postgres.start()
    on_postgres.alive()
    with psycopg.connect(on_postgres.database) as holder:
        holder.execute("SELECT FROM game_stakelevel WHERE amount = 1000 FOR UPDATE")
        out = on_postgres.manage("shell", "-v0", "-c", PAID_UNDER_A_LOCK).stdout
        assert "ERROR canceling statement due to lock timeout" in out
        # This is longer than the worker's pause between two runs, so it may find the entry while the lock is held.
        time.sleep(1.5)
        assert on_postgres.look("entries") == {"awaiting_payment": 1}
    # One second, plus time for a busy machine.
    wait_for(lambda: on_postgres.look("entries") == {"queued": 1}, 3)
    wait_for(lambda: on_postgres.look("texts") == {"payment_success": 1}, 3)


def test_three_share_the_work_and_each_is_told_once(on_postgres: Game) -> None:
    on_postgres.manage("shell", "-v0", "-c", OVER.format(count=60))
    for _ in range(3):
        on_postgres.start()
    wait_for(lambda: on_postgres.look("texts").get("refund_due") == 60, 60)
    assert on_postgres.look("texts") == {"payment_success": 60, "refund_due": 60}
    assert on_postgres.look("entries") == {"expired": 60}
    assert [process.poll() for process in on_postgres.workers] == [None] * 3


def test_killed_again_and_again_it_asks_nobody_twice(on_postgres: Game) -> None:
    """A request that was written when the worker was killed is ambiguous and not repeated. Other requests are sent."""
    on_postgres.sandbox.faults(pay_latency_ms=150)
    placed = on_postgres.stake(60)
    for reached in (10, 25):
        worker = on_postgres.start()
        wait_for(lambda reached=reached: len(on_postgres.asked()) >= reached, 60, every=0.02)
        worker.kill()
        worker.wait()
    on_postgres.start()
    wait_for(lambda: "due" not in on_postgres.look("collections"), 60)
    wait_for(lambda: on_postgres.look("collections")["asked"] >= len(placed) - 2 * 16, 20)
    asked = on_postgres.asked()
    asked.pop("", None)  # Leave out a request that the kill cut off before its reference was read.
    assert set(asked.values()) == {1}
    states = on_postgres.look("collections")
    # A request that a kill cut off is `asking` until its lease expires, then ambiguous.
    assert states["asked"] + states.get("asking", 0) + states.get("in_doubt", 0) == len(placed)
    assert set(asked) <= set(placed)
    assert len(asked) >= states["asked"]


def test_stopped_while_a_request_hangs(on_postgres: Game) -> None:
    on_postgres.environment["DMARK_PAY_TIMEOUT"] = "40"
    on_postgres.sandbox.faults(payin="hang", hang_seconds=45)
    worker = on_postgres.start()
    on_postgres.stake(1)
    wait_for(on_postgres.asked, 60)
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert time.monotonic() - began < 30
    # No process has the request now. It will become ambiguous, not `due`.
    assert on_postgres.look("collections") == {"asking": 1}


def test_postgresql_and_redis_go_away_and_come_back(
    on_postgres: Game, postgres: Postgres, redis_server: RedisServer, tmp_path: Path
) -> None:
    on_postgres.environment |= {"REDIS_URL": redis_server.url}
    worker = on_postgres.start(log=tmp_path / "log")
    on_postgres.alive()
    redis_server.stop()
    on_postgres.stake(1)
    wait_for(lambda: len(on_postgres.asked()) == 1, 20)
    postgres.stop()
    try:
        time.sleep(2.5)
    finally:
        postgres.start()
    on_postgres.stake(1, start=1)
    wait_for(lambda: len(on_postgres.asked()) == 2, 20)
    on_postgres.manage("shell", "-v0", "-c", OVER.format(count=1).replace("{number:07}", "9{number:06}"))
    wait_for(lambda: on_postgres.look("entries") == {"awaiting_payment": 2, "expired": 1}, 30)
    assert worker.poll() is None
    # The error is logged, but not at every attempt. In `payments`, each answer that has to wait is logged too.
    log = (tmp_path / "log").read_text()
    assert log.count("event=game.database_lost") == 1, log
    assert 1 <= log.count("event=payments.database_lost") <= 4, log
    assert log.count("payments.database_back") >= 1, log
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0


def test_stopped_while_the_database_is_away(on_postgres: Game, postgres: Postgres) -> None:
    worker = on_postgres.start()
    on_postgres.alive()
    postgres.stop()
    try:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    finally:
        postgres.start()


def test_stopped_while_the_database_hangs(on_postgres: Game, postgres: Postgres) -> None:
    """Every process of PostgreSQL is suspended, as on an overloaded machine."""
    worker = on_postgres.start()
    on_postgres.alive()
    pids = _postgres_processes(postgres)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(1.5)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _postgres_processes(postgres: Postgres) -> list[int]:
    main = int((postgres.folder / "data" / "postmaster.pid").read_text().split()[0])
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(main)], capture_output=True, text=True, check=True)
    return [main, *map(int, children.stdout.split())]
