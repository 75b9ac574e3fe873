"""Fixtures for the worker's tests, which run on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Sandbox
from tests.sms.worker.loop_host import Driver
from tests.system import System, postgres_database, sqlite_database


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: Any, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return sqlite_database(tmp_path / "worker.sqlite3")
    return postgres_database(request.getfixturevalue("postgres"))


@pytest.fixture
def system(database: str, sandbox: Sandbox) -> Iterator[System]:
    system = System(database, sandbox)
    yield system
    system.close()


@pytest.fixture
def on_postgres(request: Any, sandbox: Sandbox) -> Iterator[System]:
    system = System(postgres_database(request.getfixturevalue("postgres")), sandbox)
    yield system
    system.close()


@pytest.fixture
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    assert driver.loop.quit(5)
