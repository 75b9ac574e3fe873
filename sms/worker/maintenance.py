"""Maintenance in small batches: remove credentials from expired messages, erase old texts, delete old rows."""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import F, Q, QuerySet

from sms import alerts, clock
from sms.models import OPEN, SmsEvent, SmsMessage, SmsPause, SmsWorker, Status
from sms.sending import pauses
from sms.sending.claims import lock_free
from sms.stats import volume
from sms.text.redaction import BLANKED, blank_link, rules

BATCH = 1000

# A function that is called after each batch. Its argument is the number of rows processed so far.
Progress = Callable[[int], None]


def run() -> None:
    """Run the maintenance that a worker repeats every `Options.maintenance` seconds (default 60)."""
    alerts.check()
    blank_links()
    pauses.cancel_suppressed()
    forget_silent_workers()
    volume.keep_days()


def forget_silent_workers() -> None:
    SmsWorker.objects.filter(seen_at__lt=clock.now() - timedelta(days=1)).delete()


def park() -> None:
    """Park each queued message that is paused. Release parked messages that are no longer paused or have expired.

    Parking sets `lease_until`, which removes the message from the index that `claim` reads. Every 10,000 messages, the
    pauses are read again, because they may have changed.
    """
    full = True
    while full:
        kinds, full = set(SmsPause.objects.values_list("kind", flat=True)), False
        paused = Q(expires_at__gt=clock.Now()) & (Q() if SmsPause.ALL in kinds else Q(kind__in=kinds))
        queued = SmsMessage.objects.filter(status=Status.QUEUED)
        to_park, to_release = queued.filter(paused, lease_until=None), queued.exclude(lease_until=None).exclude(paused)
        for rows, lease_until in ((to_release, None), (to_park, F("expires_at"))):
            ids = list(rows.values_list("pk", flat=True)[: 10 * BATCH])
            for start in range(0, len(ids), BATCH):
                with transaction.atomic():  # Skip locked rows, because waiting for one row would delay the others.
                    free = lock_free(rows.filter(pk__in=ids[start : start + BATCH]))
                    full |= queued.filter(pk__in=free).update(lease_until=lease_until) > 0 and len(ids) == 10 * BATCH


# The batch is a CTE, because with outdated statistics PostgreSQL might run a subquery again for each row.
_BLANK = """
    WITH batch AS MATERIALIZED (
        SELECT id FROM sms_smsmessage WHERE holds_link AND expires_at < %s AND status NOT IN (%s, %s)
        ORDER BY expires_at LIMIT %s {lock}
    )
    UPDATE sms_smsmessage SET text = {blanked}, holds_link = false
    FROM batch WHERE sms_smsmessage.id = batch.id RETURNING sms_smsmessage.id
"""


def blank_links() -> int:
    """Remove the credentials from links in finished messages past their `expires_at`. Return the number of messages."""
    values: tuple[str, ...] = ()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            link = rules().link
            # The pattern `(^)(?!)` matches nothing. It is used if the settings name no links with credentials.
            values = (link.pattern if link else "(^)(?!)", rf"\1{BLANKED}")
            sql = _BLANK.format(lock="FOR UPDATE SKIP LOCKED", blanked="regexp_replace(text, %s, %s, 'g')")
        else:
            connection.connection.create_function("sms_blank_link", 1, blank_link, deterministic=True)
            sql = _BLANK.format(lock="", blanked="sms_blank_link(text)")
        done = 0
        while True:
            now = connection.ops.adapt_datetimefield_value(clock.now())
            cursor.execute(sql, (now, *OPEN, BATCH, *values))
            done += (count := len(cursor.fetchall()))
            if count < BATCH:
                return done


def before(cutoff: datetime) -> "QuerySet[SmsMessage]":
    """Return the messages queued before `cutoff`, except those that are still to be sent."""
    return SmsMessage.objects.filter(created_at__lt=cutoff).exclude(status__in=OPEN)


def delete(cutoff: datetime, progress: Progress) -> int:
    """Store daily counts, then delete the messages that `before(cutoff)` returns. Return their number."""

    def act(keys: list[int]) -> int:
        SmsEvent.objects.filter(message_id__in=keys).delete()
        return SmsMessage.objects.filter(pk__in=keys).delete()[0]

    volume.keep_days(everything=True)
    return _in_batches(before(cutoff), act, progress)


def blank(cutoff: datetime, progress: Progress) -> int:
    """Erase the texts of the messages that `before(cutoff)` returns. Return the number of changed rows."""
    texts = before(cutoff).exclude(text="")
    return _in_batches(texts, lambda keys: texts.filter(pk__in=keys).update(text="", holds_link=False), progress)


def _in_batches(rows: "QuerySet[SmsMessage]", act: Callable[[list[int]], int], progress: Progress) -> int:
    done = 0
    since: datetime | None = None
    while True:
        with transaction.atomic():
            # Start where the last batch ended, because reading the index entries of deleted rows takes time.
            batch = (rows.filter(created_at__gte=since) if since else rows).order_by("created_at", "pk")
            found = list(batch.select_for_update(skip_locked=True).values_list("pk", "created_at")[:BATCH])
            if not found:
                return done
            done += act([pk for pk, _ in found])
        since = found[-1][1]
        progress(done)
