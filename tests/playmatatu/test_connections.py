"""The site's kept connections to PostgreSQL."""

import time
from typing import Any

import pytest
from django.db import connection

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
