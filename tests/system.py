"""A whole system for tests that kill processes: its own database, the sandbox and workers."""

import atexit
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg

from tests import preloaded
from tests.preloaded import Process
from tests.sandbox import Sandbox
from tests.servers import Postgres
from tests.shared import created_once

ROOT = Path(__file__).parents[1]
_SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "playmatatu.settings",
    "DEBUG": "true",
    "SECRET_KEY": "k" * 50,
    "SMS_SERVICE_USERNAME": "u",
    "SMS_SERVICE_PASSWORD": "p",
    "SMS_RATE_LIMIT_SECONDS": "0",
    "SMS_DELIVERY": "worker",
    "SMS_LEASE_SECONDS": "2",
    "SMS_CONNECT_TIMEOUT": "1",
    "SMS_READ_TIMEOUT": "2",
    "LOG_LEVEL": "WARNING",
}


def migrate(database: str) -> None:
    environment = {**os.environ, **_SETTINGS, "DATABASE_URL": database}
    preloaded.run(["manage.py", "migrate", "-v0", "--skip-checks"], env=environment, check=True)


# The name of a migrated database of each cluster. Migrating takes seconds, so it is copied.
TEMPLATE = "template_migrated"


def migrated_postgres(programs: Path) -> Postgres:
    """Start a cluster with the database TEMPLATE. It is created once in a test run and then copied."""

    def create(folder: Path) -> None:
        first = Postgres(programs)
        first.create()
        migrate(first.create_database(TEMPLATE))
        first.stop("fast")
        first.copy_data(first.data, folder / "data")
        shutil.rmtree(first.folder)

    cluster = Postgres(programs)
    cluster.copy_data(created_once("postgres", create) / "data", cluster.data)
    cluster.start()
    return cluster


def sqlite_database(path: Path) -> str:
    """Return the URL of a migrated database. It is a copy of one that is created once in a test run."""
    template = created_once("sqlite", lambda folder: migrate(f"sqlite:///{folder}/template.sqlite3"))
    for one in template.iterdir():
        shutil.copy(one, path.with_name(one.name.replace("template.sqlite3", path.name)))
    return f"sqlite:///{path}"


def postgres_database(postgres: Postgres) -> str:
    return postgres.create_database(f"system_{time.time_ns()}", TEMPLATE)


# The last connection of `System.sql`. It is reused, because tests poll for rows and a new connection takes 6 ms of CPU.
_connections: dict[str, "psycopg.Connection[tuple[Any, ...]]"] = {}


def _connected(database: str) -> "psycopg.Connection[tuple[Any, ...]]":
    if database not in _connections:
        _disconnect()
        _connections[database] = psycopg.connect(database, autocommit=True)
    return _connections[database]


@atexit.register
def _disconnect() -> None:
    for database in list(_connections):
        _connections.pop(database).close()


class System:
    """A database, the sandbox and worker processes. `database`: the URL of a migrated database."""

    def __init__(self, database: str, sandbox: Sandbox, **settings: str) -> None:
        self.database, self.sandbox = database, sandbox
        given = {"DATABASE_URL": database, "SMS_SERVICE_BASE_URL": sandbox.url}
        self.environment = {**os.environ, **_SETTINGS, **given, **settings}
        self.workers: list[Process] = []

    def manage(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return preloaded.run(["manage.py", *arguments], env=self.environment, check=check)

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute SQL without Django. The placeholder is `?`."""
        if self.database.startswith("sqlite"):
            with sqlite3.connect(self.database.removeprefix("sqlite:///"), timeout=20) as lite:
                rows = lite.execute(statement, values).fetchall()
            lite.close()
            return rows
        query = statement.replace("?", "%s").encode()
        try:
            cursor = _connected(self.database).execute(query, values)
        except psycopg.OperationalError:
            if not _connected(self.database).closed:
                raise
            # The test has restarted PostgreSQL or cut the connection.
            _disconnect()
            cursor = _connected(self.database).execute(query, values)
        return cursor.fetchall() if cursor.description else []

    def queue(self, count: int, start: int = 0, life: float = 3600, kind: str = "") -> None:
        """Insert queued messages with the texts `text <number>`, each to another phone, and send one NOTIFY."""
        now = datetime.now(timezone.utc)
        times: list[object] = [now, now, now + timedelta(seconds=life)]
        if self.database.startswith("sqlite"):
            times = [at.strftime("%Y-%m-%d %H:%M:%S.%f") for at in (now, now, now + timedelta(seconds=life))]
        names = (
            "phone, text, kind, status, provider_id, attempts, retries, error, claim, created_at, due_at, expires_at"
        )
        for first in range(0, count, 500):
            numbers = range(start + first, start + min(first + 500, count))
            values: list[object] = []
            for number in numbers:
                values += [f"+256772{number:06}", f"text {number}", kind, "queued", "", 0, 0, "", "", *times]
            places = ", ".join(["(" + ", ".join(["?"] * 12) + ")"] * len(numbers))
            self.sql(f"INSERT INTO sms_smsmessage ({names}) VALUES {places}", *values)
        if not self.database.startswith("sqlite"):
            self.sql("NOTIFY sms_outbox")

    def counts(self) -> Counter[str]:
        return Counter(dict(self.sql("SELECT status, count(*) FROM sms_smsmessage GROUP BY status")))

    def worker(self, *arguments: str, **options: Any) -> Process:
        options = {"stdout": subprocess.DEVNULL, **options}
        process = Process(["manage.py", "sms_worker", *arguments], env=self.environment, **options)
        self.workers.append(process)
        return process

    def worker_of_money(self) -> Process:
        """Start a game_worker in its own process group."""
        command = ["manage.py", "game_worker", "--poll", "0.1"]
        return Process(command, env=self.environment, stdout=subprocess.DEVNULL, start_new_session=True)

    def texts(self) -> Counter[str]:
        """Return how many times the phones received each text."""
        return Counter(item["text"] for item in self.sandbox.inbox())

    def arrived(self) -> int:
        """Return how many different texts the phones received, without an HTTP request."""
        return len({message.text for message in self.sandbox.server.state.messages})

    def close(self) -> None:
        for process in self.workers:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
