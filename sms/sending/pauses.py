"""Find messages that must not be sent because of an operator's pause or the suppression list.

Each claim reads the pauses and the suppression list again, so a change takes effect at the next claim.
"""

from django.db import connection, transaction

from sms import clock, suppression
from sms.errors import Paused, SmsError
from sms.models import SmsEvent, SmsMessage, SmsPause, Status


def may_leave(now: str) -> str:
    """Return an SQL condition for messages that neither a pause nor the suppression list stops, or that have expired.

    Expired messages are claimed so that the worker can set their final status. `now`: SQL for the current time.
    """
    name = connection.ops.quote_name
    table, pause = (name(model._meta.db_table) for model in (SmsMessage, SmsPause))
    return f"""({table}.expires_at <= {now} OR (
        NOT EXISTS (SELECT 1 FROM {pause} WHERE kind = '{SmsPause.ALL}')
        AND {table}.kind NOT IN (SELECT kind FROM {pause})
        AND {suppression.allowed_sql(table)}
    ))"""  # noqa: S608


def refusal(phone: str, kind: str) -> SmsError | None:
    """Return the reason why a message to `phone` (E.164) must not be sent now. Return None if it may be sent."""
    if found := suppression.refusal(phone, kind):
        return found
    pause = SmsPause.objects.filter(kind__in=(SmsPause.ALL, kind)).order_by("since").first()
    return Paused(pause.sentence) if pause else None


def cancel_suppressed(actor: str = "") -> int:
    """Cancel the queued messages that the suppression list stops. Return the number of canceled messages."""
    waiting = suppression.suppressed(SmsMessage.objects.filter(status=Status.QUEUED))
    rows = list(waiting.values_list("pk", "phone", "kind"))
    return sum(cancel(pk, actor, str(suppression.refusal(phone, kind) or "")) for pk, phone, kind in rows)


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
