"""Claim due messages for a limited time (the lease), renew leases, and free the messages of expired leases."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Greatest
from django.db.models.lookups import GreaterThanOrEqual

from sms import clock
from sms.logs import get_logger
from sms.models import SmsMessage, Status
from sms.sending.pauses import may_leave

logger = get_logger("sms.worker")


@dataclass(slots=True)
class ClaimedRow:
    """A claimed message as a plain object. Creating a model instance would take longer than the claim's SQL."""

    pk: int
    phone: str
    text: str
    kind: str
    dedupe_key: str | None
    expires_at: datetime
    error: str
    attempts: int
    retries: int
    ambiguous_requests: int
    claim: str


# A claimed message, as a plain object or as a model instance. Both have the fields of `ClaimedRow`.
ClaimedMessage: TypeAlias = ClaimedRow | SmsMessage

_FIELDS = ("id", *(name for name in ClaimedRow.__slots__ if name != "pk"))
_COLUMNS = [field.column for name in _FIELDS for field in SmsMessage._meta.fields if field.name == name]


def claim(
    claimer: str, limit: int, lease: float, message_id: int | None = None, *, probe: bool = False, due_only: bool = True
) -> list[ClaimedRow]:
    """Claim up to `limit` due messages for `claimer` and set them to `sending`. Return them in order of expiry.

    `message_id`: claim only this message, even before its due time if it had no send request yet. `probe`: take
    messages with the fewest send requests first, so that one bad message does not fail every probe.
    """
    table = connection.ops.quote_name(SmsMessage._meta.db_table)
    now = clock.sql_now()
    due = f"due_at <= {now}" if due_only else "true"
    only = due if message_id is None else f"({due} OR attempts = 0) AND id = %s"
    postgresql = connection.vendor == "postgresql"
    order = "attempts, expires_at, id" if probe else "expires_at, id"
    sql = f"""
        WITH due AS (
            SELECT id FROM {table}
            WHERE status = 'queued' AND lease_until IS NULL AND {only} AND {may_leave(now)}
            ORDER BY {order} LIMIT %s {skip_locked()}
        )
        UPDATE {table} SET status = 'sending', claim = %s, lease_until = {clock.sql_after()}
        FROM due WHERE {table}.id = due.id
        RETURNING {", ".join(f"{table}.{column}" for column in (_COLUMNS if postgresql else ("id",)))}
    """  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(sql, [*([] if message_id is None else [message_id]), limit, claimer, lease])
        rows = cursor.fetchall()
    if rows and not postgresql:
        # Let Django convert the values, because SQLite does not return all of them as Python types.
        rows = list(SmsMessage.objects.filter(pk__in=[pk for (pk,) in rows]).values_list(*_FIELDS))
    return sorted((ClaimedRow(*row) for row in rows), key=lambda message: (message.expires_at, message.pk))


def skip_locked() -> str:
    """Return SQL that locks rows, but skips rows already locked. Empty on SQLite, which runs one write at a time."""
    return "FOR NO KEY UPDATE SKIP LOCKED" if connection.features.has_select_for_update_skip_locked else ""


def renew_leases(claimer: str, ids: Collection[int], lease: float) -> set[int]:
    """Renew the leases of these messages. Return the ids of those that `claimer` still has claimed.

    Do not renew all rows of `claimer`: a claim must expire if the database's response to it was lost.
    """
    renewed = _update_claimed(claimer, ids, f"lease_until = {clock.sql_after()}", lease)
    if len(renewed) < len(ids):  # The UPDATE skips rows that another transaction has locked.
        mine = SmsMessage.objects.filter(pk__in=ids, status=Status.SENDING, claim=claimer)
        renewed |= set(mine.values_list("pk", flat=True))
    return renewed


def count_ahead(claimer: str, ids: Collection[int], requests: int = 1) -> set[int]:
    """Add `requests` to each message's count of ambiguous requests, before these requests are sent.

    The count stays if this process is killed. Returns the ids of the messages still claimed by `claimer`.
    """
    return _update_claimed(claimer, ids, "doubts = doubts + %s", requests)


def _update_claimed(claimer: str, ids: Collection[int], assignment: str, value: float) -> set[int]:
    if not ids:
        return set()
    table = connection.ops.quote_name(SmsMessage._meta.db_table)
    sql = f"""
        UPDATE {table} SET {assignment} WHERE id IN (
            SELECT id FROM {table}
            WHERE id IN ({", ".join(["%s"] * len(ids))}) AND status = 'sending' AND claim = %s {skip_locked()}
        ) RETURNING id
    """  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(sql, [value, *ids, claimer])
        return {pk for (pk,) in cursor.fetchall()}


def free_leases_over_before(limit: datetime, *conditions: Q) -> int:
    """Queue again the messages that fulfill `conditions` and whose lease ended before `limit`. Return their number.

    Does nothing if the database's clock was set back to before `limit`. The messages get an `ambiguous_requests`
    of at least 1, because their senders may have sent them before a crash.
    """
    over = SmsMessage.objects.filter(*conditions, status=Status.SENDING, lease_until__lt=limit)
    over = over.filter(GreaterThanOrEqual(clock.Now(), limit))
    freed = {"status": Status.QUEUED, "claim": "", "ambiguous_requests": Greatest("ambiguous_requests", 1)}
    with transaction.atomic():  # Skip locked rows, because waiting for one row would delay the others.
        return over.filter(pk__in=lock_free(over)).update(lease_until=None, **freed)


def lock_free(rows: "QuerySet[SmsMessage]") -> set[int]:
    """Lock those of these rows that no other transaction has locked. Return their ids."""
    return set(rows.select_for_update(skip_locked=True, no_key=True).values_list("pk", flat=True))


class ExpiredLeaseReaper:
    """Frees a message if, at the previous check, its lease (its claim's time limit) was over and its row not locked.

    Between two checks, a running worker can renew its leases, even if the machine was suspended, a clock was changed or
    the rows were locked. The first check frees messages whose lease was over more than `seconds` ago.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: datetime | None = None
        self._free, self.next_look = Q(), 0.0

    def look(self) -> None:
        """If a check is due, run it. Set `next_look` to the time (monotonic) of the next check."""
        if clock.monotonic() < self.next_look:
            return
        seen = clock.read()
        if freed := free_leases_over_before(self._seen or seen - timedelta(seconds=self._seconds), self._free):
            text = "sms.reclaimed: %d messages of senders that ended without finishing are queued again"
            logger.warning(text, freed, extra={"messages": freed})
        with transaction.atomic():
            self._free = Q(pk__in=lock_free(SmsMessage.objects.filter(status=Status.SENDING, lease_until__lt=seen)))
        self._seen, self.next_look = seen, clock.monotonic() + self._seconds
