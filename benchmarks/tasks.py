"""The periodic tasks of `game_worker` and the overdue counts with 1,000,000 payments on PostgreSQL.

    python -m benchmarks.tasks [--payments 1000000]

180,000 refunds are due, 100,000 stakes were never paid, and nothing is left to do for most tasks, which is how each of
them runs each second. At the end the operator's dashboard is loaded with the same data. Prints the milliseconds of the
median of seven runs, and the slowest statement of one run if the median is over its goal.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.common import say, temporary_postgres

RUNS = 7
GOAL_MS, GOAL_DASHBOARD_MS = 20, 300
# Of 100 payments, 18 are due for refund, 10 were never paid, and 72 are in matches.
FILL = (
    """INSERT INTO game_player (phone, created_at)
    SELECT '+25677' || lpad(n::text, 7, '0'), now() - interval '40 days' FROM generate_series(1, %(players)s) n""",
    """INSERT INTO payments_payment (transaction_id, phone, amount, fee, status, refund_due, created_at, settled_at,
        settled_by, collected_at, place, word, version)
    SELECT 'tx' || n, '+25677' || lpad((1 + n %% %(players)s)::text, 7, '0'), 5000, 0,
        CASE WHEN n %% 100 < 10 THEN 'PENDING' ELSE 'SUCCESS' END, n %% 100 BETWEEN 10 AND 27, at,
        CASE WHEN n %% 100 >= 10 THEN at + interval '20 s' END, CASE WHEN n %% 100 >= 10 THEN 'callback' ELSE '' END,
        CASE WHEN n %% 100 >= 10 THEN at + interval '20 s' END,
        CASE WHEN n %% 100 < 10 THEN '' WHEN n %% 100 < 28 THEN 'refund_due' ELSE 'in_use' END,
        CASE WHEN n %% 100 >= 10 THEN 'successful' ELSE '' END, 1
    FROM (SELECT n, now() - (%(payments)s - n) * interval '1 second' * %(step)s - interval '2 minutes' AS at
        FROM generate_series(1, %(payments)s) n) series""",
    """INSERT INTO game_session (token, stake_amount, prize_amount, created_at, expires_at)
    SELECT 'token' || n, 5000, 10000, at, at + interval '10 minutes'
    FROM (SELECT n, now() - (%(payments)s - 2 * n) * interval '1 second' * %(step)s AS at
        FROM generate_series(1, %(payments)s / 2) n) series""",
    """INSERT INTO game_entry (player_id, payment_id, stake_amount, display_name, status, reason, joins_code,
        invite_phone, invite_refused, language, client_address, session_id, created_at, opened_at, expires_at, ended_at,
        refund_told)
    SELECT 1 + id %% %(players)s, id, 5000, '', CASE WHEN id %% 100 < 28 THEN 'expired' ELSE 'matched' END,
        CASE WHEN id %% 100 < 10 THEN 'not_paid' WHEN id %% 100 < 28 THEN 'timed_out' ELSE '' END, '', '', '', '',
        '10.0.0.1', CASE WHEN id %% 100 >= 28 THEN (id + 1) / 2 END, created_at, settled_at,
        settled_at + interval '10 minutes', CASE WHEN id %% 100 < 28 THEN created_at + interval '11 minutes' END,
        id %% 100 BETWEEN 10 AND 27
    FROM payments_payment""",
    """INSERT INTO payments_paymentevent (payment_id, at, kind, said, actor, note, refused, answer, ms, facts, key)
    SELECT id, created_at, 'requested', '', '', '', '', '', 0, '{}', '' FROM payments_payment""",
    """INSERT INTO payments_ledgerentry (at, hour, payment_id, event_id, debit, credit, amount)
    SELECT settled_at, date_trunc('hour', settled_at, 'UTC'), id, id, 'provider', 'received', amount
    FROM payments_payment WHERE status = 'SUCCESS'""",
)


def run_all() -> dict[str, Callable[[], object]]:
    """Return the functions that workers and each scrape of the metrics call, by name."""
    from game.maintenance import TASKS
    from payments import collection, refunds, status_polling
    from playmatatu.alert_sources import late_counts

    return {
        **{task.name: task.run for task in TASKS},
        "payment requests due": collection.start_due,
        "status polls due": status_polling.poll_due,
        "payouts due": refunds.pay_out_due,
        "overdue counts (health, metrics)": late_counts,
    }


def measure(run: Callable[[], object]) -> tuple[float, int, str]:
    """Return the median milliseconds, the number of statements and the slowest statement."""
    from django.db import connection, reset_queries

    times, queries = [], []
    for _ in range(RUNS):
        reset_queries()
        began = time.perf_counter()
        run()
        times.append((time.perf_counter() - began) * 1000)
        queries = list(connection.queries)
    slowest: dict[str, Any] = max(queries, key=lambda query: float(query["time"]), default={"time": 0, "sql": ""})
    return statistics.median(times), len(queries), f"{slowest['time']} s {slowest['sql']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payments", type=int, default=1_000_000)
    given = parser.parse_args()
    with temporary_postgres() as postgres:
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "playmatatu.settings",
            "DATABASE_URL": postgres.create_database("tasks"),
            "DEBUG": "true",
            "SMS_DELIVERY": "worker",
            "REDIS_URL": "",
            "ALLOWED_HOSTS": "*",
            "LOG_LEVEL": "ERROR",
        }
        import django

        django.setup()
        from django.contrib.auth.models import User
        from django.core.management import call_command
        from django.db import connection
        from django.test import Client

        from payments import ledger

        call_command("migrate", verbosity=0)
        values = {"payments": given.payments, "players": given.payments // 3, "step": 30 * 86400 / given.payments}
        with connection.cursor() as cursor:
            for statement in FILL:
                began = time.perf_counter()
                cursor.execute(statement, values)
                say(f"{statement.split('(')[0]}: {time.perf_counter() - began:.0f} s")
            cursor.execute("VACUUM ANALYZE")
        for name, run in run_all().items():
            report(name, run, GOAL_MS)
        while ledger.write_hours():
            pass
        client = Client()
        client.force_login(User.objects.create_superuser("operator"))
        report("dashboard", lambda: client.get("/admin/"), GOAL_DASHBOARD_MS)


def report(name: str, run: Callable[[], object], goal: int) -> None:
    began = time.perf_counter()
    run()
    first = (time.perf_counter() - began) * 1000
    median, statements, slowest = measure(run)
    over = f"   OVER {goal} ms: {slowest}" if median > goal else ""
    say(f"{name:34} {median:8.1f} ms, first run {first:8.1f} ms, {statements} statements{over}")


if __name__ == "__main__":
    main()
