"""What must not leave now: what an operator paused, and numbers that are never texted.

Both are in the database, so that every worker and every process that sends inline obeys at its next claim.
"""

from django.db import connection, transaction
from django.utils import timezone

from sms.errors import NeverTexted, Paused, SmsError
from sms.models import SmsEvent, SmsMessage, SmsPause, SmsSuppression, Status


def may_leave(now: str) -> str:
    """The SQL condition of a claim on the table of texts; `now`: an SQL expression or a placeholder, used once.

    What is past its time passes: it is not sent any more, but needs its end.
    """
    name = connection.ops.quote_name
    table, hold, never = (name(model._meta.db_table) for model in (SmsMessage, SmsPause, SmsSuppression))
    return f"""({table}.expires_at <= {now} OR (
        NOT EXISTS (SELECT 1 FROM {hold} WHERE kind = '{SmsPause.ALL}')
        AND {table}.kind NOT IN (SELECT kind FROM {hold})
        AND NOT EXISTS (SELECT 1 FROM {never} WHERE {never}.phone = {table}.phone)
    ))"""  # noqa: S608


def current() -> list[SmsPause]:
    """The pauses of this moment, the longest first."""
    return list(SmsPause.objects.order_by("since"))


def refusal(phone: str, kind: str) -> SmsError | None:
    """Why a text to `phone` (E.164) must not leave now, if so."""
    return never_texted(phone) or paused(kind)


def never_texted(phone: str) -> NeverTexted | None:
    listed = SmsSuppression.objects.filter(phone=phone).first()
    return NeverTexted(listed.reason) if listed else None


def paused(kind: str) -> Paused | None:
    hold = SmsPause.objects.filter(kind__in=(SmsPause.ALL, kind)).order_by("since").first()
    return Paused(hold.what, hold.actor, hold.reason) if hold else None


def end_never_texted(actor: str = "") -> int:
    """Cancel what waits for numbers that are never texted. Returns how many."""
    waiting = SmsMessage.objects.filter(status=Status.QUEUED, phone__in=SmsSuppression.objects.values("phone"))
    done = 0
    for pk, phone in list(waiting.values_list("pk", "phone")):
        done += cancel(pk, actor, str(never_texted(phone) or ""))
    return done


def cancel(message_id: int, actor: str, reason: str) -> bool:
    """End a text that still waits; False when it does not wait any more."""
    with transaction.atomic():
        waits = SmsMessage.objects.filter(pk=message_id, status=Status.QUEUED)
        if not waits.update(status=Status.CANCELLED, error=reason, claim="", lease_until=None):
            return False
        SmsEvent.objects.create(
            message_id=message_id, at=timezone.now(), what=SmsEvent.What.CANCEL, error=reason, actor=actor[:150]
        )
    return True
