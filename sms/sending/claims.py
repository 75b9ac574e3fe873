"""Who sends a text: claiming what is due under a lease, and freeing what a crash left behind."""

from collections.abc import Collection
from datetime import timedelta

from django.db import connection
from django.db.models.functions import Now

from sms import clock
from sms.models import SmsMessage, Status
from sms.sending.holds import may_leave


def claim(claimer: str, limit: int, lease: float, message_id: int | None = None) -> list[SmsMessage]:
    """Up to `limit` due texts, now `sending` for `claimer`; the one that expires first comes first.

    One statement, so one trip to the database and one commit stand between a text and DMark. `message_id`: only this.
    """
    table = connection.ops.quote_name(SmsMessage._meta.db_table)
    columns = ", ".join(f'{table}."{field.column}"' for field in SmsMessage._meta.concrete_fields)
    only = "" if message_id is None else "AND id = %s"
    # Where rows cannot be locked one by one, as in SQLite, only one statement writes at a time.
    lock = "FOR UPDATE SKIP LOCKED" if connection.features.has_select_for_update_skip_locked else ""
    now, (lease_end, value) = clock.sql_now(), _after(lease)
    sql = f"""
        WITH due AS (
            SELECT id FROM {table} WHERE status = 'queued' AND due_at <= {now} AND {may_leave(now)} {only}
            ORDER BY expires_at, id LIMIT %s {lock}
        )
        UPDATE {table} SET status = 'sending', claim = %s, lease_until = {lease_end}
        FROM due WHERE {table}.id = due.id
        RETURNING {columns}
    """  # noqa: S608
    which = [] if message_id is None else [message_id]
    messages = SmsMessage.objects.using(connection.alias).raw(sql, [*which, limit, claimer, value])
    return sorted(messages, key=lambda message: (message.expires_at, message.pk))


def renew_leases(claimer: str, ids: Collection[int], lease: float) -> None:
    """Hold on to what is in hand. By id: a claim whose answer was lost is nobody's, and its lease must run out."""
    rows = SmsMessage.objects.filter(pk__in=ids, status=Status.SENDING, claim=claimer)
    rows.update(lease_until=Now() + timedelta(seconds=lease))


def free_expired_leases() -> int:
    """Put back what a crash left in `sending`. Returns how many."""
    over = SmsMessage.objects.filter(status=Status.SENDING, lease_until__lt=Now())
    return over.update(status=Status.QUEUED, claim="", lease_until=None)


def _after(seconds: float) -> tuple[str, object]:
    """The database's time in so many seconds, as SQL with one parameter."""
    if connection.vendor == "postgresql":
        return "clock_timestamp() + make_interval(secs => %s)", seconds
    return "%s", connection.ops.adapt_datetimefield_value(clock.now() + timedelta(seconds=seconds))
