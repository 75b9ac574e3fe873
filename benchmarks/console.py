"""The console with 1,000,000 texts on PostgreSQL: milliseconds and queries of each page, against one of 1,000.

make bench-console        # starts PostgreSQL itself; a minute or two
"""

import os
import statistics
import sys
import time
from typing import Any

from tests.servers import Postgres, postgres_programs

ROWS = 1_000_000
RUNS = 7
FILL = """
INSERT INTO sms_smsmessage (phone, text, kind, status, dedupe_key, provider_id, attempts, retries, error, created_at,
    due_at, expires_at, sent_at, delivered_at, claim, segments, holds_link)
SELECT '+25677' || lpad((n::bigint * 7919 %% 2000000)::text, 7, '0'), 'Opponent found! Play here.',
    (array['match_found', 'payment_success', 'private_invite', 'payment_failed'])[1 + n %% 4],
    CASE WHEN n %% 50 = 0 THEN 'failed' WHEN n %% 51 = 0 THEN 'undelivered' WHEN n %% 20 = 0 THEN 'sent'
        WHEN n < 200 THEN 'queued' ELSE 'delivered' END,
    'session:' || n || ':1', 'dm' || n, 1, 0, '', at, at, at + interval '1 hour', at + interval '200 ms',
    at + interval '3 s', '', 1, false
FROM (SELECT n, now() - n * interval '1 second' * %(step)s AS at FROM generate_series(1, %(rows)s) n) series
"""
EVENTS = """
INSERT INTO sms_smsevent (message_id, at, what, step, attempt, http_status, provider_id, answer, error, ms, actor)
SELECT id, created_at, 'attempt', 'send', 1, 200, provider_id, '{}', '', 120, '' FROM sms_smsmessage ORDER BY id DESC
"""
LIST = "/admin/sms/smsmessage/"
PAGES = {
    "overview": "/admin/sms/",
    "overview of a kind": "/admin/sms/?kind=match_found",
    "list": LIST,
    "list of a status": f"{LIST}?status__exact=failed",
    "list by status, kind and time": f"{LIST}?status__exact=delivered&kind=match_found&within=2592000",
    "page 20 of the list": f"{LIST}?p=20",
    "search by number": f"{LIST}?q=0770007919",
    "search by DMark's id": f"{LIST}?q=dm777",
    "search by reference": f"{LIST}?q=session:777",
}


def measure(client: Any, path: str) -> tuple[float, float, int]:
    """Milliseconds of the first look and the median of the next ones; queries of one."""
    from django.db import connection, reset_queries

    times = []
    for _ in range(RUNS):
        reset_queries()
        started = time.perf_counter()
        answer = client.get(path)
        times.append((time.perf_counter() - started) * 1000)
        assert answer.status_code == 200, (path, answer.status_code)
    return times[0], statistics.median(times[1:]), len(connection.queries)


def main() -> None:
    programs = postgres_programs()
    if programs is None:
        raise SystemExit("PostgreSQL's programs are needed.")
    postgres = Postgres(programs)
    postgres.create()
    try:
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "playmatatu.settings",
            "DATABASE_URL": postgres.create_database("console"),
            "DEBUG": "true",
            "SMS_SERVICE_BASE_URL": "http://127.0.0.1:9",
            "SMS_SERVICE_USERNAME": "u",
            "SMS_SERVICE_PASSWORD": "p",
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

        call_command("migrate", verbosity=0)
        client = Client()
        client.force_login(User.objects.create_superuser("operator"))
        results: dict[int, dict[str, tuple[float, float, int]]] = {}
        for rows in (1_000, ROWS):
            with connection.cursor() as cursor:
                cursor.execute("TRUNCATE sms_smsmessage, sms_smsevent, sms_smsday RESTART IDENTITY CASCADE")
                # A month's worth, whatever the number.
                cursor.execute(FILL, {"rows": rows, "step": 30 * 86400 / rows})
                cursor.execute(EVENTS)
                cursor.execute("VACUUM ANALYZE")
            results[rows] = {name: measure(client, path) for name, path in PAGES.items()}
        print(f"{'page':32} {'1,000 texts':>12} {f'{ROWS:,} texts':>16} {'first look':>12} {'queries':>8}")
        for name in PAGES:
            small, (first, large, queries) = results[1_000][name], results[ROWS][name]
            print(f"{name:32} {small[1]:9.0f} ms {large:13.0f} ms {first:9.0f} ms {queries:8}")
    finally:
        postgres.stop()


if __name__ == "__main__":
    sys.exit(main())
