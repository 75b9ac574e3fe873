"""Who sends a text: claiming what is due under a lease, and freeing what a crash left behind."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from django.db import connection

from sms import clock
from sms.models import SmsMessage, Status
from sms.sending.pauses import may_leave


class Text(Protocol):
    """Of a text in hand what sending needs."""

    pk: int
    phone: str
    text: str
    kind: str
    dedupe_key: str | None
    expires_at: datetime
    error: str
    attempts: int
    retries: int
    doubts: int
    claim: str


@dataclass(slots=True)
class Claimed:
    """The same without a model, which would cost more than its row in the database does."""

    pk: int
    phone: str
    text: str
    kind: str
    dedupe_key: str | None
    expires_at: datetime
    error: str
    attempts: int
    retries: int
    doubts: int
    claim: str


_COLUMNS = ("id", *(name for name in Claimed.__slots__ if name != "pk"))


def claim(
    claimer: str,
    limit: int,
    lease: float,
    message_id: int | None = None,
    *,
    probe: bool = False,
    due_only: bool = True,
) -> list[Claimed]:
    """Up to `limit` due texts, now `sending` for `claimer`; the one that expires first comes first.

    One statement, so one trip to the database and one commit stand between a text and DMark. `message_id`: only this.
    `probe`: the one that was sent least often comes first, lest a text that never passes be every probe.
    `due_only`: False claims a message whose `due_at` lies ahead too. Inline delivery right after commit uses it: a
    database clock that steps back would leave the message queued.
    """
    table = connection.ops.quote_name(SmsMessage._meta.db_table)
    only = "" if message_id is None else "AND id = %s"
    postgresql = connection.vendor == "postgresql"
    # Where rows cannot be locked one by one, as in SQLite, only one statement writes at a time.
    lock = "FOR UPDATE SKIP LOCKED" if connection.features.has_select_for_update_skip_locked else ""
    order = "attempts, expires_at, id" if probe else "expires_at, id"
    now, (lease_end, value) = clock.sql_now(), _after(lease)
    due = f"due_at <= {now} AND" if due_only else ""
    sql = f"""
        WITH due AS (
            SELECT id FROM {table} WHERE status = 'queued' AND {due} {may_leave(now)} {only}
            ORDER BY {order} LIMIT %s {lock}
        )
        UPDATE {table} SET status = 'sending', claim = %s, lease_until = {lease_end}
        FROM due WHERE {table}.id = due.id
        RETURNING {", ".join(f"{table}.{column}" for column in (_COLUMNS if postgresql else ("id",)))}
    """  # noqa: S608
    which = [] if message_id is None else [message_id]
    with connection.cursor() as cursor:
        cursor.execute(sql, [*which, limit, claimer, value])
        rows = cursor.fetchall()
    if not postgresql:
        # Django reads the columns, since not every database gives them as what they are.
        rows = list(SmsMessage.objects.filter(pk__in=[pk for (pk,) in rows]).values_list(*_COLUMNS))
    return sorted((Claimed(*row) for row in rows), key=lambda message: (message.expires_at, message.pk))


def renew_leases(claimer: str, ids: Collection[int], lease: float) -> set[int]:
    """Hold on to what is in hand. Returns the ids that are still this claimer's.

    By id: a claim whose answer was lost is nobody's, and its lease must run out.
    """
    if not ids:
        return set()
    table = connection.ops.quote_name(SmsMessage._meta.db_table)
    lease_end, value = _after(lease)
    sql = f"""
        UPDATE {table} SET lease_until = {lease_end}
        WHERE id IN ({", ".join(["%s"] * len(ids))}) AND status = 'sending' AND claim = %s RETURNING id
    """  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(sql, [value, *ids, claimer])
        return {pk for (pk,) in cursor.fetchall()}


def free_expired_leases() -> int:
    """Put back what a crash left in `sending`. Returns how many."""
    # The time is taken before the question is asked: a database that hangs meanwhile must not judge by a later one.
    over = SmsMessage.objects.filter(status=Status.SENDING, lease_until__lt=clock.now())
    return over.update(status=Status.QUEUED, claim="", lease_until=None)


def _after(seconds: float) -> tuple[str, float | str]:
    """The database's time in so many seconds, as SQL with one parameter."""
    if connection.vendor == "postgresql":
        return "clock_timestamp() + make_interval(secs => %s)", seconds
    return "%s", str(connection.ops.adapt_datetimefield_value(clock.now() + timedelta(seconds=seconds)))
