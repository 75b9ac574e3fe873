"""The admin pages with 1,000,000 messages and 300,000 payments on PostgreSQL: milliseconds and queries of each page.

    python -m benchmarks.console

The same pages are also measured with a thousandth of this data. The benchmark starts PostgreSQL itself and takes a
minute or two.
"""

import argparse
import os
import statistics
import time
from datetime import timedelta
from typing import Any

from benchmarks.common import temporary_postgres

ROWS, PAYMENTS = 1_000_000, 300_000
RUNS = 7
TOKEN = "token-of-the-benchmark"
FILL = """
INSERT INTO sms_smsmessage (phone, text, kind, status, dedupe_key, provider_id, attempts, retries, error, created_at,
    due_at, expires_at, sent_at, delivered_at, claim, segments, holds_link)
SELECT '+25677' || lpad((n::bigint * 7919 %% 2000000)::text, 7, '0'), 'Opponent found! Play here.',
    (array['match_found', 'payment_success', 'private_invite', 'payment_failed'])[1 + n %% 4],
    CASE WHEN n %% 50 = 0 THEN 'failed' WHEN n %% 51 = 0 THEN 'undelivered' WHEN n %% 20 = 0 THEN 'sent'
        WHEN n < 200 THEN 'queued' ELSE 'delivered' END,
    'session:' || n || ':1', 'dm' || n, 1, 0,
    CASE WHEN n %% 50 = 0 THEN 'DMark refuses the text (400).' ELSE '' END, at, at,
    at + interval '1 hour', at + interval '200 ms', at + interval '3 s', '', 1, false
FROM (SELECT n, now() - n * interval '1 second' * %(step)s AS at FROM generate_series(1, %(rows)s) n) series
"""
EVENTS = """
INSERT INTO sms_smsevent (message_id, at, what, step, attempt, http_status, provider_id, answer, error, ms, actor)
SELECT id, created_at, 'attempt', 'send', 1, 200, provider_id, '{}', '', 120, '' FROM sms_smsmessage ORDER BY id DESC
"""
# Eight of ten stakes are in matches. One payment failed. One stake found no opponent, and most of those are refunded. A
# player stakes about six times.
MONEY = """
INSERT INTO game_player (phone, created_at) SELECT '+25677' || lpad(n::text, 7, '0'), now() - interval '40 days'
    FROM generate_series(0, %(payments)s / 6) n;
INSERT INTO payments_payment (transaction_id, phone, amount, status, refund_due, refunded_at, created_at, settled_at,
    settled_by, reason, collected_at, contested, collection, provider, network, description, provider_id,
    asked_at, asks, version, place)
SELECT 'tx' || n, '+25677' || lpad((n %% (%(payments)s / 6))::text, 7, '0'), 5000,
    CASE WHEN n %% 10 = 8 THEN 'FAILED' ELSE 'SUCCESS' END, n %% 3000 = 9,
    CASE WHEN n %% 10 = 9 AND n %% 1000 > 9 THEN at + interval '1 hour' END, at, at + interval '20 s', 'asking', '',
    CASE WHEN n %% 10 = 8 THEN NULL ELSE at + interval '20 s' END, n %% 30000 = 0, 'over', 'dmarkpay', 'mtn', '',
    'dmp' || n, at + interval '1 s', 2, 5,
    CASE WHEN n %% 10 = 8 THEN '' WHEN n %% 30000 = 0 THEN 'contested' WHEN n %% 10 < 8 THEN 'in_use'
        WHEN n %% 1000 > 9 THEN 'refunded' ELSE 'refund_due' END
FROM (SELECT n, now() - n * interval '1 second' * %(step)s AS at FROM generate_series(1, %(payments)s) n) series;
INSERT INTO game_session (token, stake_amount, prize_amount, created_at, expires_at)
SELECT 'token' || n, 5000, 10000, at, at + interval '10 minutes'
FROM (SELECT n, now() - n * interval '2 seconds' * %(step)s AS at FROM generate_series(1, %(payments)s / 2) n) series;
INSERT INTO game_entry (player_id, payment_id, stake_amount, display_name, status, reason, match_code, joins_code,
    invite_phone, invite_refused, language, session_id, created_at, opened_at, expires_at, refund_told)
SELECT player.id, payment.id, 5000, '', CASE WHEN payment.id %% 10 < 8 THEN 'matched' ELSE 'expired' END, '', NULL, '',
    '', '', '', CASE WHEN payment.id %% 10 < 8 THEN (payment.id + 1) / 2 END, payment.created_at,
    CASE WHEN payment.id %% 10 <> 8 THEN payment.created_at END, payment.created_at + interval '10 minutes', true
FROM payments_payment payment JOIN game_player player ON player.phone = payment.phone;
INSERT INTO payments_callback (payment_id, source, received_at, status, provider_id, body, answered, applied, refusal)
SELECT id, 'dmarkpay', settled_at, 'Successful', provider_id, '{}', 200, true,
    CASE WHEN id %% 5000 = 0 THEN 'The amount is another.' ELSE '' END FROM payments_payment
"""
# Five events and three postings for each payment, in the order of time.
JOURNAL = """
INSERT INTO payments_paymentevent
    (payment_id, at, kind, said, actor, note, refused, http_status, answer, ms, facts, key)
SELECT id, created_at + step * interval '5 s', kind, CASE WHEN kind = 'word' THEN 'successful' ELSE '' END,
    CASE WHEN kind = 'by_hand' THEN 'operator' ELSE '' END, '', '', 200, '{}', 120, '{}', ''
FROM payments_payment JOIN (VALUES (0, 'requested'), (1, 'request_pending'), (2, 'word'), (3, 'activated'),
    (4, 'matched'), (5, 'unused'), (6, 'by_hand')) steps (step, kind)
    ON step < 3 OR (place <> '' AND (step = 3 OR (step = 4) = (place IN ('in_use', 'contested'))))
WHERE NOT (step = 6 AND place <> 'refunded')
ORDER BY id DESC, step;
INSERT INTO payments_ledgerentry (at, hour, payment_id, event_id, debit, credit, amount)
SELECT event.at, date_trunc('hour', event.at), payment_id, event.id, debit, credit, amount
FROM payments_paymentevent event JOIN payments_payment payment ON payment.id = payment_id
JOIN (VALUES ('word', 'provider', 'received'), ('activated', 'received', 'waiting'), ('matched', 'waiting', 'in_match'),
    ('unused', 'waiting', 'refund_due'), ('by_hand', 'refund_due', 'provider')) moves (kind, debit, credit)
    ON moves.kind = event.kind
WHERE place <> '' ORDER BY event.id
"""
LIST = "/admin/sms/smsmessage/"
PAGES = {
    "first page": "/admin/",
    "a player by number": "/admin/find/?q=0770007919",
    "a player by transaction id": "/admin/find/?q=tx4711",
    "a player by DMark's id": "/admin/find/?q=dm777",
    "nobody": "/admin/find/?q=nonsense",
    "resend, by reason": f"{LIST}resend/?status=failed&reason=DMark+refuses+the+text+(400).",
    "texts of a reason": f"{LIST}?status__exact=failed&reason=DMark+refuses+the+text+(400).&within=86400",
    "payments": "/admin/payments/payment/",
    "payments due back": "/admin/payments/payment/?refund=due",
    "payments in a match": "/admin/payments/payment/?place=in_use",
    "page of a payment": "/admin/payments/payment/111/change/",
    "journal": "/admin/payments/paymentevent/",
    "journal of a rare kind": "/admin/payments/paymentevent/?kind=by_hand",
    "journal of a kind that is missing": "/admin/payments/paymentevent/?kind=payout_returned",
    "journal of a day": "/admin/payments/paymentevent/?day=@day",
    "journal of a payment": "/admin/payments/paymentevent/?q=tx111",
    "ledger": "/admin/payments/ledgerentry/",
    "ledger of an account": "/admin/payments/ledgerentry/?account=waiting",
    "ledger of an empty account": "/admin/payments/ledgerentry/?account=lost",
    "ledger of a day, paid in": "/admin/payments/ledgerentry/?day=@day&flow=in",
    "metrics": "/metrics",
    "payments by number": "/admin/payments/payment/?q=0770007919",
    "stakes": "/admin/game/entry/",
    "stakes by number": "/admin/game/entry/?q=0770007919",
    "players": "/admin/game/player/",
    "matches": "/admin/game/session/",
    "matches by number": "/admin/game/session/?q=0770007919",
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
    """Measure one page.

    Return the milliseconds of the first load, the median of the next loads, and the queries of one load.
    """
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
    argparse.ArgumentParser(description=__doc__).parse_args()
    with temporary_postgres() as postgres:
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
            "METRICS_TOKEN": TOKEN,
        }
        import django

        django.setup()
        from django.contrib.auth.models import User
        from django.core.management import call_command
        from django.db import connection
        from django.test import Client
        from django.utils import timezone

        from payments import ledger
        from payments.migrations import _append_only

        call_command("migrate", verbosity=0)
        # The triggers are removed, so that the tables can be emptied between the two runs.
        _append_only.remove(connection)
        client = Client(headers={"Authorization": f"Bearer {TOKEN}"})
        client.force_login(User.objects.create_superuser("operator"))
        results: dict[int, dict[str, tuple[float, float, int]]] = {}
        for rows in (1_000, ROWS):
            with connection.cursor() as cursor:
                cursor.execute("TRUNCATE sms_smsmessage, sms_smsevent, sms_smsday RESTART IDENTITY CASCADE")
                cursor.execute("TRUNCATE payments_payment, payments_accounthour RESTART IDENTITY CASCADE")
                cursor.execute("TRUNCATE game_player, game_session RESTART IDENTITY CASCADE")
                # The rows are spread over a month, independent of their number.
                cursor.execute(FILL, {"rows": rows, "step": 30 * 86400 / rows})
                cursor.execute(EVENTS)
                payments = rows * PAYMENTS // ROWS
                for statement in MONEY.split(";\n"):
                    cursor.execute(statement, {"payments": payments, "step": 30 * 86400 / payments})
                for statement in JOURNAL.split(";\n"):
                    cursor.execute(statement)
                while ledger.write_hours():
                    pass
                cursor.execute("VACUUM ANALYZE")
            day = str(timezone.localdate() - timedelta(days=10))
            results[rows] = {name: measure(client, path.replace("@day", day)) for name, path in PAGES.items()}
        print(f"{'page':32} {'1,000 texts':>12} {f'{ROWS:,} texts':>16} {'first look':>12} {'queries':>8}")
        for name in PAGES:
            small, (first, large, queries) = results[1_000][name], results[ROWS][name]
            print(f"{name:32} {small[1]:9.0f} ms {large:13.0f} ms {first:9.0f} ms {queries:8}")


if __name__ == "__main__":
    main()
