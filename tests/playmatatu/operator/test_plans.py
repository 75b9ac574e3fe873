"""What the operator's pages ask of PostgreSQL: by indexes, whatever the tables hold."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from benchmarks.console import EVENTS, FILL, MONEY

pytestmark = pytest.mark.django_db(transaction=True)

TABLES = ("sms_smsmessage", "payments_payment", "game_entry", "game_session", "game_player")
# A search looks at single rows; what the lists show is read off an index, too.
PAGES = (
    "/admin/find/?q=0770000007",
    "/admin/find/?q=tx4711",
    "/admin/find/?q=dm777",
    "/admin/find/?q=nonsense",
    "/admin/payments/payment/?q=0770000007",
    "/admin/game/entry/?q=0770000007",
    "/admin/game/session/?q=0770000007",
    "/admin/game/player/?q=0770000007",
)


def test_a_search_reads_no_table_through(client: Client) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL's planner is the subject")
    with connection.cursor() as cursor:
        cursor.execute(FILL, {"rows": 20_000, "step": 100})
        cursor.execute(EVENTS)
        cursor.execute(MONEY, {"payments": 12_000, "step": 100})
        for table in (*TABLES, "sms_smsevent"):
            cursor.execute(f"ANALYZE {table}")
    client.force_login(User.objects.create_superuser("operator"))
    for path in PAGES:
        asked: list[tuple[str, Any]] = []

        def note(execute: Any, sql: str, params: Any, many: bool, context: Any, seen: Any = asked) -> Any:
            seen.append((sql, params))
            return execute(sql, params, many, context)

        with connection.execute_wrapper(note):
            assert client.get(path, follow=True).status_code == 200
        with connection.cursor() as cursor:
            # A small table is read through for cheapness; so it is read through only where no index answers.
            cursor.execute("SET enable_seqscan = off")
            for sql, params in asked:
                if not sql.startswith("SELECT"):
                    continue
                cursor.execute(f"EXPLAIN {sql}", params)
                plan = "\n".join(row[0] for row in cursor.fetchall())
                for table in TABLES:
                    assert f"Seq Scan on {table}" not in plan, (path, sql, plan)
            cursor.execute("RESET enable_seqscan")
