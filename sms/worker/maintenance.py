"""Periodic maintenance: remove expired credentials, erase old texts, delete old rows.

The work is done in small batches, so that rows are locked only for a short time.
"""

from collections.abc import Callable
from datetime import datetime

from django.db import connection, transaction
from django.db.models import F, Func, QuerySet, TextField

from sms import alerts, clock
from sms.models import OPEN, SmsEvent, SmsMessage
from sms.sending import pauses
from sms.stats import volume
from sms.text.redaction import BLANKED, blank_link, rules
from sms.worker import heartbeat

BATCH = 1000

# A function that is called after each batch. Its argument is the number of rows processed so far.
Progress = Callable[[int], None]


def run() -> None:
    """Do the worker's periodic tasks."""
    alerts.check()
    blank_links()
    pauses.cancel_suppressed()
    heartbeat.forget_silent_workers()
    volume.keep_days()


def blank_links() -> int:
    """Remove the credentials from the links of expired messages. Return the number of changed messages.

    On PostgreSQL, rows that other transactions have locked are left for the next run.
    """
    done = 0
    while True:
        count = _blank_a_batch_on_postgresql() if connection.vendor == "postgresql" else _blank_a_batch()
        done += count
        if count < BATCH:
            return done


# The batch is a CTE. With outdated statistics, PostgreSQL might run a subquery again for each row.
_BLANK = """
    WITH batch AS MATERIALIZED (
        SELECT id FROM sms_smsmessage WHERE holds_link AND expires_at < %s AND status <> ALL(%s::varchar[])
        ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED
    )
    UPDATE sms_smsmessage SET text = regexp_replace(text, %s, %s, 'g'), holds_link = false
    FROM batch WHERE sms_smsmessage.id = batch.id
"""


def _blank_a_batch_on_postgresql() -> int:
    pattern = rules().link
    # The pattern matches nothing. It is used if the settings name no links with credentials.
    found = pattern.pattern if pattern else "(^)(?!)"
    with connection.cursor() as cursor:
        cursor.execute(_BLANK, (clock.now(), list(OPEN), BATCH, found, rf"\1{BLANKED}"))
        return int(cursor.rowcount)


def _blank_a_batch() -> int:
    """Process one batch on SQLite. SQLite allows only one writer at a time, so no row locks are needed."""
    over = SmsMessage.objects.filter(holds_link=True, expires_at__lt=clock.now()).exclude(status__in=OPEN)
    with transaction.atomic():
        connection.connection.create_function("sms_blank_link", 1, blank_link, deterministic=True)
        batch = list(over.order_by("expires_at").values_list("pk", flat=True)[:BATCH])
        blanked = Func(F("text"), function="sms_blank_link", output_field=TextField())
        return SmsMessage.objects.filter(pk__in=batch).update(text=blanked, holds_link=False)


def before(cutoff: datetime) -> "QuerySet[SmsMessage]":
    """Return the messages queued before `cutoff`. Messages that are still to be sent are left out."""
    return SmsMessage.objects.filter(created_at__lt=cutoff).exclude(status__in=OPEN)


def delete(cutoff: datetime, progress: Progress) -> int:
    """Delete the messages queued before `cutoff` and their events. Return the number of deleted messages.

    The daily counts are kept.
    """
    volume.keep_days(everything=True)
    return _in_batches(before(cutoff), _delete, progress)


def blank(cutoff: datetime, progress: Progress) -> int:
    """Erase the texts of messages queued before `cutoff`. Return the number of changed rows."""
    return _in_batches(before(cutoff).exclude(text=""), _blank, progress)


def _delete(keys: list[int]) -> int:
    SmsEvent.objects.filter(message_id__in=keys).delete()
    return SmsMessage.objects.filter(pk__in=keys).delete()[0]


def _blank(keys: list[int]) -> int:
    return SmsMessage.objects.filter(pk__in=keys).update(text="", holds_link=False)


def _in_batches(rows: "QuerySet[SmsMessage]", act: Callable[[list[int]], int], progress: Progress) -> int:
    done = 0
    since: datetime | None = None
    while True:
        with transaction.atomic():
            # Start where the last batch ended. The index still contains the deleted rows before that point.
            batch = (rows.filter(created_at__gte=since) if since else rows).order_by("created_at", "pk")
            found = list(batch.select_for_update(skip_locked=True).values_list("pk", "created_at")[:BATCH])
            if not found:
                return done
            done += act([pk for pk, _ in found])
        since = found[-1][1]
        progress(done)
