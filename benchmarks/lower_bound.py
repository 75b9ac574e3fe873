"""The CPU of paid stakes in one process, beside the same statements with bare psycopg: the lower bound.

    python -m benchmarks.lower_bound [--stakes 300]

Stakes are placed and paid through the WSGI application, without HTTP, and each statement is recorded. Then the
record is replayed with bare psycopg on a copy of the database as it was before: the sequences are in the same state,
so all ids are the same. CPU time is used, not elapsed time, so that a busy machine matters little.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import psycopg

from benchmarks.common import cpu_seconds, say, temporary_postgres
from tests.servers import Postgres

SECRET = "a-secret-for-this-load"
COMMIT = "COMMIT"
AMOUNTS = 4
VARIANTS = (
    ("bare psycopg, parameters in the text", None, False),
    ("bare psycopg, parameters apart", None, True),
    ("bare psycopg, parameters apart, prepared", 2, True),
)
# The SQL statements in the order in which they ran, each with its parameters.
Record = list[tuple[str, Any]]


class Cpu:
    """CPU milliseconds of this process and of PostgreSQL's processes."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self.before = self._read()

    def _read(self) -> tuple[float, float]:
        return time.process_time() * 1000, cpu_seconds({self.postgres.pid: "postgres"})["postgres"] * 1000

    def since(self) -> tuple[float, float]:
        now = self._read()
        return now[0] - self.before[0], now[1] - self.before[1]


def set_up(url: str) -> Any:
    """Configure Django for this database, and return the WSGI application."""
    os.environ.update(
        {
            "DJANGO_SETTINGS_MODULE": "playmatatu.settings",
            "DATABASE_URL": url,
            "DEBUG": "false",
            "SECRET_KEY": "k" * 50,
            "ALLOWED_HOSTS": "127.0.0.1",
            "SITE_URL": "http://127.0.0.1:8000",
            "FRONTEND_URL": "http://127.0.0.1:8000",
            "SMS_DELIVERY": "worker",
            "SMS_SERVICE_BASE_URL": "http://127.0.0.1:1",
            "SMS_SERVICE_USERNAME": "u",
            "SMS_SERVICE_PASSWORD": "p",
            "MOMO_AUTO_APPROVE": "false",
            "MOMO_CALLBACK_SECRET": SECRET,
            "UNPAID_STAKES_PER_ADDRESS_HOUR": "1000000",
            "LOG_LEVEL": "ERROR",
        }
    )
    from playmatatu.wsgi import application

    return application


def ask(application: Any, path: str, body: dict[str, Any] | None = None, **headers: str) -> tuple[str, Any]:
    """Send one request to the application. Return the status line, and the JSON of the response with its ETag."""
    path, _, query = path.partition("?")
    raw = b"" if body is None else json.dumps(body).encode()
    environ = {
        "REQUEST_METHOD": "GET" if body is None else "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(raw)),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(raw),
        "wsgi.errors": BytesIO(),
        **headers,
    }
    said: list[Any] = []
    answer = application(environ, lambda status, sent: said.extend((status, dict(sent))))
    content = b"".join(answer)
    answer.close()
    found = json.loads(content) if content else {}
    return said[0], found | {"etag": said[1].get("ETag", "")}


def place(application: Any, number: int) -> tuple[str, dict[str, Any]]:
    phone = f"07721{number:05}"
    status, placed = ask(
        application, "/api/v1/game/stake", {"phone_number": phone, "stake_amount": 1000 * (1 + number % AMOUNTS)}
    )
    assert status.startswith("200"), (status, placed)
    return phone, placed


def pay(application: Any, phone: str, placed: dict[str, Any]) -> None:
    body = {
        "transaction_id": placed["transaction_id"],
        "phone_number": phone,
        "amount": placed["total_amount"],
        "status": "SUCCESS",
    }
    status, answer = ask(application, "/api/v1/momo/callback", body, HTTP_X_CALLBACK_SECRET=SECRET)
    assert status.startswith("200"), (status, answer)


@contextmanager
def recorded() -> Iterator[Record]:
    """Record the statements and commits of this thread's connection."""
    from django.db import connections

    record: Record = []
    connection = connections["default"]

    def note(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        assert not many
        record.append((sql, parameters))
        return execute(sql, parameters, many, context)

    def note_commit() -> None:
        record.append((COMMIT, None))
        type(connection)._commit(connection)  # type: ignore[attr-defined]

    def note_autocommit(autocommit: bool) -> None:
        record.append(("AUTOCOMMIT", autocommit))
        type(connection)._set_autocommit(connection, autocommit)  # type: ignore[attr-defined]

    connection._commit, connection._set_autocommit = note_commit, note_autocommit
    try:
        with connection.execute_wrapper(note):
            yield record
    finally:
        del connection._commit, connection._set_autocommit


def replay(
    url: str, record: Record, *, prepare: int | None, server_side: bool, postgres: Postgres
) -> tuple[float, float]:
    """Run a record with bare psycopg. Return the CPU milliseconds of this process and of PostgreSQL."""
    from django.db.backends.postgresql.psycopg_any import get_adapters_template

    factory = psycopg.Cursor if server_side else psycopg.ClientCursor
    with psycopg.connect(
        url,
        autocommit=True,
        prepare_threshold=prepare,
        cursor_factory=factory,
        context=get_adapters_template(True, None),
    ) as bare:
        cursor = bare.cursor()
        cursor.execute("SELECT 1")
        cpu = Cpu(postgres)
        for sql, parameters in record:
            if sql == COMMIT:
                bare.commit()
            elif sql == "AUTOCOMMIT":
                bare.autocommit = parameters
            else:
                cursor.execute(sql, parameters)
                if cursor.description:
                    cursor.fetchall()
        return cpu.since()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stakes", type=int, default=300)
    given = parser.parse_args()
    with temporary_postgres(durable=True) as postgres:
        measure(postgres, given.stakes)


def measure(postgres: Postgres, stakes: int) -> None:
    url = postgres.create_database("bound")
    application = set_up(url)
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    for number in range(80):
        pay(application, *place(application, number))
    connection.close()
    copies = [f"copy{number}" for number in range(len(VARIANTS))]
    with psycopg.connect(f"{postgres.url}/postgres", autocommit=True) as admin:
        for copy in copies:
            admin.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{url.rpartition("/")[2]}"'.encode())
    spent = {place: 0.0, pay: 0.0}
    with recorded() as record:
        cpu = Cpu(postgres)
        for number in range(1000, 1000 + stakes):
            began = time.thread_time()
            placed = place(application, number)
            between = time.thread_time()
            pay(application, *placed)
            spent[place] += between - began
            spent[pay] += time.thread_time() - between
        _site, database = cpu.since()
    ours, theirs = sum(spent.values()) * 1000 / stakes, database / stakes
    say(f"{'':45} {'process':>8} {'PostgreSQL':>11}   ms CPU a paid stake")
    say(f"{'the site, in process':45} {ours:8.2f} {theirs:11.2f}")
    say(f"{'  of it the stake':45} {spent[place] * 1000 / stakes:8.2f}")
    say(f"{'  of it the callback':45} {spent[pay] * 1000 / stakes:8.2f}")
    for copy, (what, prepare, server_side) in zip(copies, VARIANTS, strict=True):
        bare, server = replay(
            f"{postgres.url}/{copy}", record, prepare=prepare, server_side=server_side, postgres=postgres
        )
        say(f"{what:45} {bare / stakes:8.2f} {server / stakes:11.2f}")
    say(f"{len(record) / stakes:.1f} statements a paid stake, transaction control included")


if __name__ == "__main__":
    main()
