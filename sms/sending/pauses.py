"""Find messages that must not be sent because of an operator's pause or the suppression list.

Pauses and suppression list are stored in the database. Each sender therefore respects them at its next claim. Paused
messages in the queue are also parked: their `lease_until` is set. This removes them from the index that claims use.
"""

from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.signals import post_delete

from sms import clock, suppression
from sms.errors import Paused, SmsError
from sms.models import SmsEvent, SmsMessage, SmsPause, Status

_BATCH = 10_000


def may_leave(now: str) -> str:
    """Return an SQL condition that is true for messages that may be claimed.

    Expired messages may always be claimed, because they must get their final status.
    """
    name = connection.ops.quote_name
    table, pause = (name(model._meta.db_table) for model in (SmsMessage, SmsPause))
    return f"""({table}.expires_at <= {now} OR (
        NOT EXISTS (SELECT 1 FROM {pause} WHERE kind = '{SmsPause.ALL}')
        AND {table}.kind NOT IN (SELECT kind FROM {pause})
        AND {suppression.allowed_sql(table)}
    ))"""  # noqa: S608


def park() -> None:
    """Park paused messages, so that claims skip them. Release parked messages that have expired or may be sent again.

    Each transaction is short and locks the pauses. A concurrent resume waits for it, then releases the parked messages.
    """
    while _park_batch():
        pass


def _park_batch() -> int:
    with transaction.atomic():
        kinds = set(SmsPause.objects.select_for_update().values_list("kind", flat=True))
        paused = Q(expires_at__gt=clock.Now())
        if SmsPause.ALL not in kinds:
            paused &= Q(kind__in=kinds)
        queued = SmsMessage.objects.filter(status=Status.QUEUED)
        to_park = queued.filter(paused, lease_until=None) if kinds else queued.none()
        to_release = queued.exclude(lease_until=None).exclude(paused)
        parked, released = (queued.filter(pk__in=rows.values("pk")[:_BATCH]) for rows in (to_park, to_release))
        return parked.update(lease_until=F("expires_at")) + released.update(lease_until=None)


post_delete.connect(lambda **_: transaction.on_commit(park, robust=True), SmsPause, weak=False)


def refusal(phone: str, kind: str) -> SmsError | None:
    """Return the reason why a message to `phone` (E.164) must not be sent now. Return None if it may be sent."""
    if found := suppression.refusal(phone, kind):
        return found
    pause = SmsPause.objects.filter(kind__in=(SmsPause.ALL, kind)).order_by("since").first()
    return Paused(pause.sentence) if pause else None


def cancel_suppressed(actor: str = "") -> int:
    """Cancel the queued messages to phones on the suppression list. Return the number of canceled messages."""
    waiting = suppression.suppressed(SmsMessage.objects.filter(status=Status.QUEUED))
    done = 0
    for pk, phone, kind in list(waiting.values_list("pk", "phone", "kind")):
        done += cancel(pk, actor, str(suppression.refusal(phone, kind) or ""))
    return done


def cancel(message_id: int, actor: str, reason: str) -> bool:
    """Cancel a queued message. Return False if the message is no longer queued."""
    with transaction.atomic():
        waits = SmsMessage.objects.filter(pk=message_id, status=Status.QUEUED)
        if not waits.update(status=Status.CANCELLED, error=reason, claim="", lease_until=None):
            return False
        SmsEvent.objects.create(
            message_id=message_id, at=clock.now(), what=SmsEvent.What.CANCEL, error=reason, actor=actor[:150]
        )
    return True
