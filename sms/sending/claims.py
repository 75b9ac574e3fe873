"""Who sends a text: claiming what is due under a lease, and freeing what a crash left behind."""

from datetime import timedelta

from django.db import connection
from django.utils import timezone

from sms.models import SmsMessage, Status
from sms.sending.holds import may_leave


def claim(claimer: str, limit: int, lease: float, message_id: int | None = None) -> list[SmsMessage]:
    """Up to `limit` due texts, now `sending` for `claimer`; the one that expires first comes first.

    One statement, so one trip to the database and one commit stand between a text and DMark. `message_id`: only this.
    """
    now, at = timezone.now(), connection.ops.adapt_datetimefield_value
    table = connection.ops.quote_name(SmsMessage._meta.db_table)
    columns = ", ".join(f'{table}."{field.column}"' for field in SmsMessage._meta.concrete_fields)
    only = "" if message_id is None else "AND id = %s"
    # Where rows cannot be locked one by one, as in SQLite, only one statement writes at a time.
    lock = "FOR UPDATE SKIP LOCKED" if connection.features.has_select_for_update_skip_locked else ""
    sql = f"""
        WITH due AS (
            SELECT id FROM {table} WHERE status = 'queued' AND due_at <= %s AND {may_leave("%s")} {only}
            ORDER BY expires_at, id LIMIT %s {lock}
        )
        UPDATE {table} SET status = 'sending', claim = %s, lease_until = %s
        FROM due WHERE {table}.id = due.id
        RETURNING {columns}
    """  # noqa: S608
    which = [at(now)] * 2 if message_id is None else [at(now), at(now), message_id]
    messages = SmsMessage.objects.using(connection.alias).raw(
        sql, [*which, limit, claimer, at(now + timedelta(seconds=lease))]
    )
    return sorted(messages, key=lambda message: (message.expires_at, message.pk))


def free_expired_leases() -> int:
    """Put back what a crash left in `sending`. Returns how many."""
    return SmsMessage.objects.filter(status=Status.SENDING, lease_until__lt=timezone.now()).update(
        status=Status.QUEUED, claim="", lease_until=None
    )
