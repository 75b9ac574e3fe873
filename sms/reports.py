"""Delivery reports, pushed or polled: what the words mean, and the moves along the rank."""

from django.db import transaction
from django.utils import timezone

from sms.models import SmsEvent, SmsMessage, Status
from sms.redaction import blank_link, redact
from sms.signals import sms_delivered, sms_failed

# An older DMark host reports in numbers: 1 delivered, 2 and 16 failed, 4 and 8 on its way.
_ENDS = {
    "DELIVERED": Status.DELIVERED,
    "1": Status.DELIVERED,
    "FAILED": Status.UNDELIVERED,
    "2": Status.UNDELIVERED,
    "16": Status.UNDELIVERED,
}


def end_of(word: str) -> Status | None:
    """The end that DMark's word means; None: still on its way."""
    return _ENDS.get(word.strip().upper())


def take(message_id: int, word: str, step: str) -> bool:
    """Store a report and move the message, if that is a move forward. False: there is no such message.

    `word`: DMark's, in any case; an unknown one means still on its way. `step`: push or poll.
    """
    word = word.strip().upper()[:50]
    end = end_of(word)
    moved = False
    with transaction.atomic():
        message = SmsMessage.objects.select_for_update().filter(pk=message_id).first()
        if message is None:
            return False
        if word:
            SmsEvent.objects.create(message=message, what=SmsEvent.What.REPORT, step=step, answer=redact(word))
        if end == Status.DELIVERED and message.status != Status.DELIVERED:
            message.delivered_at, message.error = timezone.now(), ""
            message.text, message.holds_link = blank_link(message.text), False
            moved = True
        elif end == Status.UNDELIVERED and message.status in (Status.SENDING, Status.SENT):
            message.error = f"DMark could not deliver it ({word})."
            moved = True
        if moved and end:
            message.status = end
            message.save(update_fields=["status", "delivered_at", "text", "holds_link", "error"])
    if moved:
        signal = sms_delivered if end == Status.DELIVERED else sms_failed
        signal.send_robust(SmsMessage, message=message)
    return True
