"""Fixtures for the real parts of the tests: the sandbox over HTTP, Redis, PostgreSQL and a browser."""

import asyncio
import gc
import logging
import os
import shutil
from asyncio import AbstractEventLoop
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.core.cache import cache
from django.core.management.color import no_style
from django.db import connections
from django.db.backends.sqlite3.creation import DatabaseCreation
from django.db.transaction import atomic
from django.test import TransactionTestCase
from playwright.sync_api import Browser, sync_playwright

from playmatatu.sandbox.money.server import Server
from playmatatu.settings import caches
from sms import cache as sms_cache
from sms.dmark import blocking
from sms.dmark.kept_connections import KeptConnections
from sms.testing import serving
from tests.browsing import tidy
from tests.crowd import end_threads
from tests.order import dealt
from tests.sandbox import Sandbox as Sandbox
from tests.servers import Postgres as Postgres
from tests.servers import RedisServer as RedisServer
from tests.servers import free_port as free_port
from tests.servers import postgres_programs as postgres_programs
from tests.servers import redis_program as redis_program
from tests.servers import wait_for as wait_for
from tests.system import migrated_postgres, sqlite_database

# While pytest collects the tests, almost no object becomes garbage. Without the collector this takes 30% less CPU.
gc.disable()

pytest_plugins = ["playmatatu_sms_pytest", "pytester"]

# No proxy leads to the servers of the tests. With this, `requests` also reads fewer variables for each request.
os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")

# On a busy machine hypothesis generates examples slowly. This is not a failure.
hypothesis.settings.register_profile("busy", suppress_health_check=[hypothesis.HealthCheck.too_slow], deadline=None)
hypothesis.settings.load_profile("busy")


_KEPT_TABLES = {"django_content_type", "auth_permission"}


def _delete_rows(case: TransactionTestCase) -> None:
    """Empty the tables.

    Faster than Django's flush, which also creates all content types and permissions again (40 ms).
    """
    for alias in case._databases_names(include_mirrors=False):  # type: ignore[attr-defined]
        database = connections[alias]
        tables = set(database.introspection.django_table_names(only_existing=True, include_views=False)) - _KEPT_TABLES
        if database.vendor == "postgresql":
            # This DELETE takes 1 ms of CPU. TRUNCATE takes 30 ms, because it creates the files of each table again.
            deletes = "; ".join(f"DELETE FROM {database.ops.quote_name(table)}" for table in sorted(tables))
            with atomic(alias), database.cursor() as cursor:
                cursor.execute(f"SET LOCAL session_replication_role = replica; {deletes}")
            continue
        statements = database.ops.sql_flush(no_style(), sorted(tables), reset_sequences=False, allow_cascade=False)
        database.ops.execute_sql_flush(statements)


def _failed(case: TransactionTestCase) -> bool:
    """Return True if a database error occurred on a connection. Django then closes all connections of this thread.

    Without this function it closes them after each test. On a new connection, PostgreSQL reads its catalogs again, and
    SQLite its schema.
    """
    return any(connection.errors_occurred for connection in connections.all(initialized_only=True))


def _copy_database(creation: DatabaseCreation, *_options: object) -> str:
    """Create the test database as a copy of one that is migrated once in a test run, which takes 1.5 s of CPU."""
    name: str = creation._get_test_db_name()  # type: ignore[attr-defined]
    sqlite_database(Path(name))
    return name


if "PYTEST_XDIST_WORKER" in os.environ:
    DatabaseCreation._create_test_db = _copy_database  # type: ignore[attr-defined]
TransactionTestCase._fixture_teardown = _delete_rows  # type: ignore[attr-defined]
TransactionTestCase._should_reload_connections = _failed  # type: ignore[attr-defined]


# A test that uses one of these fixtures counts as slow. They start a process or a browser.
_SLOW = {"postgres", "on_postgres", "browser", "page", "system", "project", "game", "site", "proxy"}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    for item in items:
        if _SLOW & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    # pytest-django sorts the tests meanwhile.
    yield
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        items[:] = dealt(items, processes)


def pytest_collection_finish() -> None:
    """Exclude the modules and the collected tests from garbage collection, which takes a fifth of the CPU otherwise."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 20, 10)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return two processes per core, because tests spend half of the time waiting for clocks and other processes."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[Server]:
    with serving(Server(0)) as server:
        yield server


@pytest.fixture
def sandbox(sandbox_server: Server, settings: Any) -> Sandbox:
    """Enable SMS, with the sandbox as provider. Delivery reports and the rate limit are off unless a test sets them."""
    sandbox_server.state.reset()
    settings.SMS_SERVICE_BASE_URL = sandbox_server.url
    settings.SMS_SERVICE_USERNAME = "operator"
    settings.SMS_SERVICE_PASSWORD = "sandbox-password-7341"
    settings.SMS_RATE_LIMIT_SECONDS = 0
    settings.SMS_CONNECT_TIMEOUT, settings.SMS_READ_TIMEOUT = 1.0, 1.0
    sandbox = Sandbox(sandbox_server)
    sandbox.faults(report="never", hang_seconds=3)
    return sandbox


@pytest.fixture
def collection(sandbox: Sandbox, settings: Any) -> Sandbox:
    """Collect payments with the sandbox. A stake is then paid on a phone of the sandbox."""
    settings.DMARK_PAY_BASE_URL = sandbox.url
    settings.DMARK_PAY_TOKEN_URL = "/o/token/"
    settings.DMARK_PAY_USERNAME = "collector"
    settings.DMARK_PAY_PASSWORD = "collection-password-9152"
    settings.DMARK_PAY_ACCOUNT_CODE = "ACC-77"
    settings.DMARK_PAY_WALLET = "dmark"
    settings.DMARK_PAY_TIMEOUT = 2.0
    settings.MOMO_AUTO_APPROVE = False
    return sandbox


@pytest.fixture(autouse=True)
def clean_cache() -> Iterator[None]:
    """Empty the cache, and reset the state that an earlier failure of the cache has left."""

    def forget_failure() -> None:
        sms_cache._rest_until, sms_cache._last_warning = 0.0, -sms_cache._WARN_EVERY
        blocking._kept_connections = KeptConnections()

    forget_failure()
    cache.clear()
    yield
    forget_failure()


@pytest.fixture(autouse=True)
def loggers_enabled() -> Iterator[None]:
    """Fail the test that disables a logger. Otherwise later tests fail that expect log lines."""
    yield
    loggers = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    disabled = [logger.name for logger in loggers if logger.disabled]
    assert (logging.root.manager.disable, disabled) == (logging.NOTSET, [])


def missing(part: str) -> None:
    """Skip the test, because a program is not installed. Fail instead if REQUIRE_ALL_PARTS is set, as in CI."""
    if os.environ.get("REQUIRE_ALL_PARTS"):
        pytest.fail(f"{part} is not installed here")
    pytest.skip(f"{part} is not installed here")


# --- browser

# Without these options Chromium contacts its vendor's hosts at each start.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]
# These two take 15% less CPU: no process for the GPU, and no threads that compile and collect JavaScript.
QUIET += ["--in-process-gpu", "--js-flags=--single-threaded"]
# These two take another 10%: a page keeps its process and its frame when it opens another address. The list of features
# replaces the one of Playwright.
QUIET += ["--renderer-process-limit=1", "--disable-features=RenderDocument,PaintHolding,HttpsUpgrades"]


@pytest.fixture(scope="session")
def chromium() -> Iterator[tuple[Browser, AbstractEventLoop]]:
    """Start one Chromium per test process, because a start takes 1.5 s of CPU. Yields it with Playwright's event loop.

    Between calls, Playwright leaves its event loop marked as running. The mark is removed for tests without a browser:
    while the loop is marked, Django refuses database queries and asyncio refuses another loop.
    """
    # The headless shell is the same browser without windows. It takes 40% of the CPU.
    program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if program is None:
        missing("chromium")
    with sync_playwright() as playwright:
        loop = asyncio.get_running_loop()
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        asyncio._set_running_loop(None)
        yield browser, loop
        asyncio._set_running_loop(loop)
        browser.close()


@pytest.fixture
def browser(chromium: tuple[Browser, AbstractEventLoop]) -> Iterator[Browser]:
    """Return a browser without the pages, cookies and storage of earlier tests."""
    browser, loop = chromium
    asyncio._set_running_loop(loop)
    yield browser
    tidy(browser)
    asyncio._set_running_loop(None)


# --- Redis


@pytest.fixture(scope="session")
def redis_server_session() -> Iterator[RedisServer]:
    program = redis_program()
    if program is None:
        missing("redis-server")
    assert program
    server = RedisServer(program)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_server(redis_server_session: RedisServer) -> Iterator[RedisServer]:
    if redis_server_session.process is None:
        redis_server_session.start()
    yield redis_server_session
    if redis_server_session.process is None:
        redis_server_session.start()


@pytest.fixture
def redis_cache(redis_server: RedisServer, settings: Any) -> RedisServer:
    """Use a real Redis as Django's cache."""
    settings.CACHES = caches(redis_server.url)
    cache.clear()
    return redis_server


# --- PostgreSQL


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    programs = postgres_programs()
    if programs is None:
        missing("PostgreSQL")
    assert programs
    cluster = migrated_postgres(programs)
    yield cluster
    cluster.remove()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Remove the triggers that make journal and ledger append-only.

    Transactional tests empty all tables, which the triggers would prevent. The tests of the triggers install them
    again. At the end, close the connections of `tests.crowd`, because the database is then deleted.
    """
    from django.db import connection

    from payments.migrations import _append_only

    with django_db_blocker.unblock():
        _append_only.remove(connection)
    yield
    end_threads()
