"""A site whose database is locked, full, read-only, suspended or gone.

The site responds 503 in seconds, and the health check always responds.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from django.db import connection
from django.test import Client

from tests import preloaded
from tests.conftest import Postgres, RedisServer, free_port, missing, postgres_programs, wait_for
from tests.playmatatu.test_api_server import environment
from tests.preloaded import Process
from tests.system import TEMPLATE, migrated_postgres

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STAKE = {"phone_number": "0772000001", "stake_amount": 1000}
# Time limit for the health check, in seconds.
SOON = 3
# The values differ, so that the test sees which limit ended the wait.
LIMITS = {
    "DATABASE_CONNECT_TIMEOUT": "2",
    "DATABASE_STATEMENT_TIMEOUT": "2.5",
    "DATABASE_LOCK_TIMEOUT": "0.9",
    "DATABASE_IDLE_TIMEOUT": "9",
}


class Site:
    def __init__(self, url: str, postgres: Postgres, redis: RedisServer, env: dict[str, str]) -> None:
        self.url, self.postgres, self.redis, self.env = url, postgres, redis, env

    def stake(self) -> requests.Response:
        return requests.post(f"{self.url}/api/v1/game/stake", json=STAKE, timeout=30)

    def health(self) -> tuple[float, requests.Response]:
        started = time.monotonic()
        answer = requests.get(f"{self.url}/api/v1/health", timeout=30)
        return time.monotonic() - started, answer

    def well(self) -> bool:
        # 409 means that the previous stake is still open.
        if self.stake().status_code not in (200, 409):
            return False
        parts = self.health()[1].json()["parts"]
        return (parts["database"], parts["cache"]) == ("ok", "ok")

    def sql(self) -> "psycopg.Connection[Any]":
        """Connect as the superuser, for whom the limits do not apply."""
        return psycopg.connect(f"{self.postgres.url}/site")


@pytest.fixture(scope="module")
def site(tmp_path_factory: Any, redis_server_session: RedisServer) -> Iterator[Site]:
    programs = postgres_programs()
    if programs is None:
        missing("PostgreSQL")
    assert programs
    postgres = migrated_postgres(programs)
    postgres.create_database("site", TEMPLATE)
    with psycopg.connect(f"{postgres.url}/site") as sql:
        sql.execute("CREATE ROLE site LOGIN")
        sql.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO site")
        sql.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO site")
    env = environment(
        DEBUG="true",
        DATABASE_URL=f"postgres://site@127.0.0.1:{postgres.port}/site?target_session_attrs=read-write",
        REDIS_URL=redis_server_session.url,
        WEB_CONCURRENCY="1",
        **LIMITS,
    )
    port = free_port()
    log = tmp_path_factory.mktemp("site") / "log"
    with log.open("wb") as out:
        process = Process(["-m", "gunicorn", "-b", f"127.0.0.1:{port}"], env=env, stdout=out, stderr=out)
    site = Site(f"http://127.0.0.1:{port}", postgres, redis_server_session, env)

    def up() -> bool:
        try:
            return site.well()
        except requests.ConnectionError:
            return False

    try:
        wait_for(up, 30)
        yield site
    finally:
        postgres.go_on()
        process.terminate()
        process.wait(30)
        postgres.remove()


@pytest.fixture(autouse=True)
def well_again(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "site" in request.fixturenames:
        site = request.getfixturevalue("site")
        wait_for(site.well, 30)


def refused(answer: requests.Response) -> None:
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "no-store" in answer.headers["Cache-Control"]


def test_the_site_has_limits_and_a_command_has_none(site: Site) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    code = (
        "from django.db import connection as c; k = c.cursor()\n"
        f"print([k.execute('SHOW ' + name).fetchone()[0] for name in {names}])"
    )
    alone = ["manage.py", "shell", "-v0", "-c"]
    command = preloaded.run([*alone, code], env=site.env, check=True)
    assert command.stdout.strip() == "['0', '0', '0']"
    tcp = ("keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
    code = (
        "from django.db import connection as c; c.ensure_connection()\n"
        f"given = c.connection.info.get_parameters(); print([given[name] for name in {tcp}])"
    )
    command = preloaded.run([*alone, code], env=site.env, check=True)
    assert command.stdout.strip() == "['30', '10', '3', '30000']"
    code = (
        "from django.db import connection as c; k = c.cursor()\n"
        f"print([k.execute('SHOW ' + name).fetchone()[0] for name in {names}])"
    )
    wsgi = preloaded.run([*alone, f"import playmatatu.wsgi\n{code}"], env=site.env, check=True)
    assert wsgi.stdout.strip() == "['2500ms', '900ms', '9s']"


def test_each_process_prepares_statements_but_not_during_a_migration(site: Site) -> None:
    code = (
        "from playmatatu import postgres as p; from django.db import connection as c; k = c.cursor()\n"
        "p.migration_begins(); [k.execute('SELECT 4171 + %s', [1]) for _ in range(5)]; p.migration_ends()\n"
        "for _ in range(5): k.execute('SELECT 4172 + %s', [1])\n"
        "k.execute(\"SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%%417%%+%%'\", [])\n"
        "print(k.fetchall())"
    )
    run = preloaded.run(["manage.py", "shell", "-v0", "-c", code], env=site.env, check=True)
    assert run.stdout.strip() == "[('SELECT 4172 + $1',)]"


def test_new_statistics_bring_a_new_plan_to_a_prepared_statement(site: Site) -> None:
    """Otherwise a worker, whose connection lasts for days, would keep a plan that was made for an empty table."""
    with site.sql() as sql, site.sql() as other:
        sql.autocommit = other.autocommit = True
        for statement in (
            "CREATE TABLE grows (id bigint PRIMARY KEY)",
            "ANALYZE grows",
            "SET plan_cache_mode = force_generic_plan",
            "PREPARE found AS SELECT id FROM grows WHERE id = $1",
        ):
            sql.execute(statement)
        plan = sql.execute("EXPLAIN EXECUTE found (1)").fetchall()
        assert "Seq Scan" in str(plan)
        other.execute("INSERT INTO grows SELECT generate_series(1, 10000)")
        other.execute("ANALYZE grows")
        plan = sql.execute("EXPLAIN EXECUTE found (1)").fetchall()
        sql.execute("DROP TABLE grows")
    assert "Index Only Scan" in str(plan)


def test_a_locked_row(site: Site) -> None:
    with site.sql() as sql:
        sql.execute("SELECT FROM game_player FOR UPDATE")
        sql.execute("LOCK TABLE game_entry IN ACCESS EXCLUSIVE MODE")
        started = time.monotonic()
        answer = site.stake()
        assert time.monotonic() - started < 10
        refused(answer)
        assert answer.json()["error"].startswith("The database is out of reach")
        with requests.Session() as browser:
            browser.get(f"{site.url}/", timeout=10)
            form = {"phone_number": "0772000001", "stake_amount": "1000", "opponent": "anyone"}
            form["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
            page = browser.post(f"{site.url}/", data=form, timeout=30)
        refused(page)
        assert page.headers["Content-Type"].startswith("text/html")
        assert "try again in a few seconds" in page.text
        assert site.health()[1].json()["parts"]["database"] == "ok"


def test_health_keeps_its_connection(site: Site) -> None:
    log = site.postgres.folder / "log"

    def connections() -> int:
        return log.read_text().count("connection authorized: user=site")

    with site.sql() as sql:
        sql.autocommit = True
        sql.execute("ALTER SYSTEM SET log_connections = on")
        sql.execute("SELECT pg_reload_conf()")
    try:
        site.health()
        before = connections()
        assert {site.health()[1].status_code for _ in range(20)} == {200}
        assert connections() == before
    finally:
        with site.sql() as sql:
            sql.autocommit = True
            sql.execute("ALTER SYSTEM RESET log_connections")
            sql.execute("SELECT pg_reload_conf()")


def test_one_locked_stake_level_leaves_the_rest_of_the_site_alone(site: Site) -> None:
    def stake(amount: int, phone: str) -> tuple[float, int]:
        started = time.monotonic()
        body = {"phone_number": phone, "stake_amount": amount}
        answer = requests.post(f"{site.url}/api/v1/game/stake", json=body, timeout=30)
        return time.monotonic() - started, answer.status_code

    stake(6000, "0772000900")
    with site.sql() as sql, ThreadPoolExecutor(18) as players:
        sql.execute("SELECT FROM game_stakelevel WHERE amount = 6000 FOR UPDATE")
        stuck = [players.submit(stake, 6000, f"07720009{number}") for number in range(10, 26)]
        time.sleep(0.2)
        other, health = players.submit(stake, 7001, "0772000990"), players.submit(site.health)
        assert (other.result()[1], health.result()[1].json()["parts"]["database"]) == (200, "ok")
        assert max(other.result()[0], health.result()[0]) < 1.5
        assert {one.result()[1] for one in stuck} == {503}


@contextmanager
def player_trigger(site: Site, statement: str) -> Iterator[None]:
    """Run this PL/pgSQL statement for each write to a player's row."""
    with site.sql() as sql:
        body = f"BEGIN {statement}; RETURN NEW; END"
        sql.execute(f"CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $${body}$$".encode())
        sql.execute(
            "CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON game_player FOR EACH ROW EXECUTE FUNCTION meddle()"
        )
    try:
        yield
    finally:
        with site.sql() as sql:
            sql.execute("DROP FUNCTION meddle CASCADE")


def test_a_statement_that_takes_too_long(site: Site) -> None:
    with player_trigger(site, "PERFORM pg_sleep(20)"):
        started = time.monotonic()
        refused(site.stake())
        assert 2 < time.monotonic() - started < 15


def test_a_read_only_server_is_unavailable_and_the_next_stake_connects_anew(site: Site) -> None:
    """After a failover the old primary stays up, read-only: supabase/supabase#9824, zalando/postgres-operator#2354."""

    def read_only(value: str) -> None:
        with site.sql() as sql:
            sql.autocommit = True
            sql.execute("SET default_transaction_read_only = off")
            sql.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}".encode())
            sql.execute("SELECT pg_reload_conf()")

    read_only("on")
    try:
        wait_for(lambda: site.stake().status_code == 503)
        refused(site.stake())
        # The kept connection of the health check is read-only now.
        health = site.health()[1].json()
        assert (health["status"], health["parts"]["database"]) == ("degraded", "read_only")
        with requests.Session() as browser:
            browser.get(f"{site.url}/", timeout=10)
            form = {"phone_number": "0772000001", "stake_amount": "1000", "opponent": "anyone"}
            form["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
            refused(browser.post(f"{site.url}/", data=form, timeout=30))
    finally:
        read_only("off")
    wait_for(site.well, 2)


def test_a_server_that_ends_an_idle_transaction_is_unavailable(site: Site) -> None:
    with player_trigger(site, "RAISE EXCEPTION 'terminating connection due to idle timeout' USING ERRCODE = '25P03'"):
        refused(site.stake())


def test_used_up_connections(site: Site) -> None:
    with site.sql() as sql:
        sql.autocommit = True
        sql.execute("ALTER ROLE site CONNECTION LIMIT 0")
        sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'site'")
        try:
            refused(site.stake())
            refused(requests.get(f"{site.url}/admin/", cookies={"sessionid": "a" * 32}, timeout=30))
            took, answer = site.health()
            refused(answer)
            assert answer.json()["status"] == "down"
            assert took < SOON
        finally:
            sql.execute("ALTER ROLE site CONNECTION LIMIT -1")


def test_a_database_that_is_gone(site: Site) -> None:
    site.postgres.stop()
    try:
        refused(site.stake())
        took, answer = site.health()
        assert (answer.status_code, answer.json()["status"]) == (503, "down")
        assert took < SOON
    finally:
        site.postgres.start()


def test_a_database_that_hangs(site: Site) -> None:
    site.postgres.hang()
    try:
        answers: list[requests.Response] = []
        threads = [threading.Thread(target=lambda: answers.append(site.stake())) for _ in range(16)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        # More requests than threads are sent, as soon as the first have failed.
        wait_for(lambda: answers, 15)
        healths = [site.health() for _ in range(5)]
        for thread in threads:
            thread.join()
        assert time.monotonic() - started < 25
    finally:
        site.postgres.go_on()
    assert len(answers) == 16
    for answer in answers:
        refused(answer)
    assert {answer.status_code for _, answer in healths} == {503}
    assert max(took for took, _ in healths) < SOON


def test_health_while_all_hangs(site: Site) -> None:
    site.postgres.hang()
    site.redis.hang()
    try:
        took, answer = site.health()
    finally:
        site.redis.go_on()
        site.postgres.go_on()
    assert took < SOON
    assert answer.json() == {"status": "down", "parts": {"database": "down", "cache": "down"}}


def test_health_while_redis_hangs(site: Site) -> None:
    site.redis.hang()
    try:
        took, answer = site.health()
    finally:
        site.redis.go_on()
    assert took < SOON
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["parts"]["cache"] == "down"


@pytest.mark.django_db(transaction=True)
def test_a_locked_sqlite(client: Client, tmp_path: Path) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("SQLite's own")
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 200")
    ready, done = threading.Event(), threading.Event()

    def hold() -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            ready.set()
            done.wait(30)
            cursor.execute("ROLLBACK")
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert ready.wait(10)
    try:
        answer = client.post("/api/v1/game/stake", STAKE, content_type="application/json")
        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    finally:
        done.set()
        holder.join()
    assert client.post("/api/v1/game/stake", STAKE, content_type="application/json").status_code == 200
