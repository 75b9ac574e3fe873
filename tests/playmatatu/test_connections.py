"""The site's kept connections to PostgreSQL."""

import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timezone
from typing import Any

import pytest
from django.db import DataError, IntegrityError, OperationalError, connection, transaction
from django.db.backends.postgresql.psycopg_any import register_tzloader
from django.test.utils import CaptureQueriesContext
from psycopg import adapters
from psycopg.pq import Format

from game.models import Session
from payments.statements import Select
from playmatatu.postgres.base import TimeLoader
from sms import clock
from tests.conftest import wait_for


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connection to lose")
def test_a_connection_is_checked_once_a_second_and_when_the_server_closed_it() -> None:
    own = connection.copy()
    own.ensure_connection()
    pid = own.connection.info.backend_pid

    def ask(sql: str) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(sql, [pid])
            return cursor.fetchone()[0]

    def last_query() -> Any:
        return ask("SELECT query_start FROM pg_stat_activity WHERE pid = %s")

    try:
        assert own.is_usable()
        first = last_query()
        assert own.is_usable()
        assert last_query() == first
        own.errors_occurred = True
        assert own.is_usable()
        after_an_error = last_query()
        assert after_an_error > first
        own.errors_occurred = False
        time.sleep(1.1)
        assert own.is_usable()
        assert last_query() > after_an_error
        ask("SELECT pg_terminate_backend(%s)")
        wait_for(lambda: not own.is_usable(), 0.9)
    finally:
        own.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="our backend is for PostgreSQL")
def test_a_savepoint_is_released_with_the_next_one_and_rolled_back_alone() -> None:
    with CaptureQueriesContext(connection) as captured, transaction.atomic():
        with transaction.atomic():
            _add("outer")
            _add_nested("inner 1")
            with pytest.raises(ZeroDivisionError):
                _add_nested("reverted 1", error=ZeroDivisionError)
            _add_nested("inner 2")
        with pytest.raises(IntegrityError):
            _add_nested("reverted 2", "outer")
        _add_nested("last")
    _add_nested("next transaction")
    assert _tokens() == ["outer", "inner 1", "inner 2", "last", "next transaction"]
    control = [query["sql"] for query in captured.captured_queries if "SAVEPOINT" in query["sql"]]
    # No round trip only releases a savepoint.
    words = Counter(re.sub(r' "?s\d+_x\d+"?', "", sql) for sql in control)
    assert words == {"SAVEPOINT": 7, "RELEASE SAVEPOINT; SAVEPOINT": 5, "ROLLBACK TO SAVEPOINT": 3}


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="our backend is for PostgreSQL")
def test_a_savepoint_does_not_outlive_its_transaction_or_connection() -> None:
    for number, error in enumerate((None, ZeroDivisionError, None)):
        with suppress(ZeroDivisionError):
            _add_nested(f"a {number}", f"b {number}", error=error)
    with pytest.raises(OperationalError):
        _add_nested("lost", error=_lose_connection)
    with pytest.raises(OperationalError), transaction.atomic():
        _add_nested("lost in a savepoint", error=_lose_connection)
    with pytest.raises(ZeroDivisionError):
        _add_nested("closed", error=_close_connection)
    _add_nested("c")
    with transaction.atomic():
        savepoint = transaction.savepoint()
        _add_nested("reverted")
        transaction.savepoint_rollback(savepoint)
        _add_nested("d")
    assert _tokens() == ["a 0", "b 0", "a 2", "b 2", "c", "d"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="our backend is for PostgreSQL")
def test_a_kept_cursor_belongs_to_its_connection_and_is_not_used_after_it() -> None:
    select = Select(lambda token: Session.objects.filter(token=token))
    connection.close()
    assert select(token="x") == []
    assert connection._kept_cursors[0] is connection.connection  # type: ignore[attr-defined]
    # A cursor that was made outside the test of the statements does not hide them.
    with CaptureQueriesContext(connection) as captured:
        assert select(token="x") == []
    assert len(captured) == 1
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
    other.close()
    wait_for(lambda: not connection.is_usable(), 2)
    # As at the beginning of a request.
    connection.health_check_done = False  # type: ignore[attr-defined]
    assert select(token="x") == []


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "postgresql", reason="our backend is for PostgreSQL")
def test_times_are_read_as_django_reads_them() -> None:
    texts = ["2026-11-28 07:15:00+03", "2026-11-28 07:15:00.5+00", "2026-11-28 07:15:00.000001-05:30", "0001-01-02"]
    sql = f"SELECT {', '.join(['%s::timestamptz'] * len(texts))}"
    with connection.cursor() as cursor:
        ours = cursor.execute(sql, texts).fetchone()
        cursor.execute("SELECT 'infinity'::timestamptz")
        with pytest.raises(DataError, match="too large"):
            cursor.fetchone()
    assert connection.connection.adapters.get_loader(adapters.types["timestamptz"].oid, Format.TEXT) is TimeLoader
    with connection.cursor() as cursor:
        register_tzloader(timezone.utc, cursor.cursor)
        djangos = cursor.execute(sql, texts).fetchone()
    assert ours == djangos
    assert [moment.tzinfo for moment in ours] == [timezone.utc] * len(texts)


def _add(token: str) -> None:
    Session.objects.create(token=token, stake_amount=1, prize_amount=2, expires_at=clock.now())


def _add_nested(*tokens: str, error: Callable[[], Exception] | None = None) -> None:
    """Add each row in its own atomic block, and all of them in another one. It ends with the error, if one is given."""
    with transaction.atomic():
        for token in tokens:
            with transaction.atomic():
                _add(token)
        if error is not None:
            raise error()


def _lose_connection() -> Exception:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    return AssertionError("The connection was not lost.")


def _close_connection() -> Exception:
    connection.close()
    return ZeroDivisionError()


def _tokens() -> list[str]:
    return list(Session.objects.order_by("pk").values_list("token", flat=True))
