"""Messages that must not be sent now: paused by an operator, or to a number on the suppression list.

Both lists are in the database, so every worker and every process that sends inline obeys at its next claim.
"""

from django.db import connection, transaction

from sms import clock
from sms.errors import NeverTexted, Paused, SmsError
from sms.models import SmsEvent, SmsMessage, SmsPause, SmsSuppression, Status


def may_leave(now: str) -> str:
    """Return the SQL condition under which a message may be claimed. `now`: an SQL expression, used once.

    An expired message may be claimed: it is not sent, but it needs its final status.
    """
    name = connection.ops.quote_name
    table, pause, suppressed = (name(model._meta.db_table) for model in (SmsMessage, SmsPause, SmsSuppression))
    return f"""({table}.expires_at <= {now} OR (
        NOT EXISTS (SELECT 1 FROM {pause} WHERE kind = '{SmsPause.ALL}')
        AND {table}.kind NOT IN (SELECT kind FROM {pause})
        AND NOT EXISTS (SELECT 1 FROM {suppressed} WHERE {suppressed}.phone = {table}.phone)
    ))"""  # noqa: S608


def current() -> list[SmsPause]:
    """Return the pauses in force, the oldest first."""
    return list(SmsPause.objects.order_by("since"))


def refusal(phone: str, kind: str) -> SmsError | None:
    """Return the reason why a message to `phone` (E.164) must not be sent now, or None."""
    return never_texted(phone) or paused(kind)


def never_texted(phone: str) -> NeverTexted | None:
    listed = SmsSuppression.objects.filter(phone=phone).first()
    return NeverTexted(listed.reason) if listed else None


def paused(kind: str) -> Paused | None:
    pause = SmsPause.objects.filter(kind__in=(SmsPause.ALL, kind)).order_by("since").first()
    return Paused(pause.what, pause.actor, pause.reason) if pause else None


def end_never_texted(actor: str = "") -> int:
    """Cancel queued messages to numbers on the suppression list. Return their number."""
    waiting = SmsMessage.objects.filter(status=Status.QUEUED, phone__in=SmsSuppression.objects.values("phone"))
    done = 0
    for pk, phone in list(waiting.values_list("pk", "phone")):
        done += cancel(pk, actor, str(never_texted(phone) or ""))
    return done


def cancel(message_id: int, actor: str, reason: str) -> bool:
    """Cancel a queued message. Return False if it is not queued any more."""
    with transaction.atomic():
        waits = SmsMessage.objects.filter(pk=message_id, status=Status.QUEUED)
        if not waits.update(status=Status.CANCELLED, error=reason, claim="", lease_until=None):
            return False
        SmsEvent.objects.create(
            message_id=message_id, at=clock.now(), what=SmsEvent.What.CANCEL, error=reason, actor=actor[:150]
        )
    return True
