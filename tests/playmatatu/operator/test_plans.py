"""Queries of the operator's pages use indexes in PostgreSQL, for any amount of data."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from benchmarks.console import EVENTS, FILL, MONEY
from playmatatu.operator import find

pytestmark = pytest.mark.django_db(transaction=True)

TABLES = ("sms_smsmessage", "payments_payment", "game_entry", "game_session", "game_player")
# A search reads single rows. The shown lists are read from an index too.
PAGES = (
    "/admin/find/?q=0770000007",
    "/admin/find/?q=tx4711",
    "/admin/find/?q=dm777",
    "/admin/find/?q=nonsense",
    "/admin/find/?q=004711",
    "/admin/find/?q=Grace+4711",
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
        # The statements below assume primary keys from 1 on.
        for table in ("payments_payment", "game_session"):
            cursor.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), 1, false)", [table])
        for statement in MONEY.split(";\n"):
            cursor.execute(statement, {"payments": 12_000, "step": 100})
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
            # PostgreSQL prefers sequential scans of small tables. With this setting, it uses one only if there is no
            # suitable index.
            cursor.execute("SET enable_seqscan = off")
            for sql, params in asked:
                if not sql.startswith("SELECT"):
                    continue
                cursor.execute(f"EXPLAIN {sql}", params)
                plan = "\n".join(row[0] for row in cursor.fetchall())
                for table in TABLES:
                    assert f"Seq Scan on {table}" not in plan, (path, sql, plan)
            cursor.execute("RESET enable_seqscan")


PLAYERS = """
INSERT INTO game_player (phone, created_at) SELECT '+25678' || lpad(n::text, 7, '0'), now()
    FROM generate_series(1, 50000) n;
INSERT INTO payments_payment (transaction_id, phone, amount, status, refund_due, created_at, settled_by, reason,
    contested, collection, provider, network, description, provider_id, asks)
SELECT 'name' || player.id, player.phone, 1000, 'SUCCESS', false, now(), '', '', false, '', '', '', '', '', 0
    FROM game_player player;
INSERT INTO game_entry (player_id, payment_id, stake_amount, display_name, status, reason, match_code, joins_code,
    invite_phone, invite_refused, language, created_at, refund_told)
SELECT player.id, payment.id, 1000, 'Player ' || right(player.phone, 6), 'expired', '', NULL, '', '', '', '', now(),
    true
    FROM game_player player JOIN payments_payment payment ON payment.phone = player.phone;
"""


@pytest.mark.parametrize(
    ("search", "index"), [("004711", "player_last_digits"), ("player 004711", "entry_newest_name")]
)
def test_a_search_among_50_000_players_uses_its_index(search: str, index: str) -> None:
    """With the default planner settings, the index of the last six digits or of the capitalized name is used."""
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL's planner is the subject")
    asked: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        asked.append((sql, params))
        return execute(sql, params, many, context)

    with connection.cursor() as cursor:
        for statement in PLAYERS.split(";\n"):
            cursor.execute(statement)
        for table in ("game_player", "payments_payment", "game_entry"):
            cursor.execute(f"ANALYZE {table}")
    with connection.execute_wrapper(note):
        assert len(find.phones(search)) == 1
    plans = []
    with connection.cursor() as cursor:
        for sql, params in asked:
            cursor.execute(f"EXPLAIN {sql}", params)
            plans.append("\n".join(row[0] for row in cursor.fetchall()))
    assert any(re.search(rf"Index Scan( Backward)? (using|on) {index}", plan) for plan in plans), plans
    for table in ("game_player", "game_entry"):
        assert not [plan for plan in plans if f"Seq Scan on {table}" in plan]
