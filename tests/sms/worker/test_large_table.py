"""The worker's queries use an index, so that many old rows do not slow them down."""

from tests.system import System

OLD = """
INSERT INTO sms_smsmessage (phone, text, kind, status, provider_id, attempts, retries, error, claim,
    created_at, due_at, expires_at, sent_at)
SELECT '+25677' || lpad(n::text, 7, '0'), 'old', 'match_found', 'delivered', 'dm' || n, 1, 0, '', '',
    now() - n * interval '20 seconds', now(), now() - interval '1 hour', now() FROM generate_series(1, 30000) n
"""
# Number of rows that PostgreSQL has read without an index.
READ = "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'sms_smsmessage'"


def test_no_question_of_the_workers_reads_the_whole_table(on_postgres: System) -> None:
    """Incident elsewhere: in procrastinate-org/procrastinate#1242, a new column made fetching slow."""
    on_postgres.sql(OLD)
    on_postgres.sql("ANALYZE sms_smsmessage")
    on_postgres.queue(60)
    over = "lease_until = now() - interval '20 seconds'"
    dead = f"UPDATE sms_smsmessage SET status = 'sending', claim = 'dead', {over} WHERE id = ?"
    for pk in range(30001, 30006):
        on_postgres.sql(dead, pk)
    before = on_postgres.sql(READ)
    on_postgres.manage("sms_worker", "--once")
    assert on_postgres.sql(READ) == before
    assert on_postgres.counts() == {"delivered": 30000, "sent": 60}
