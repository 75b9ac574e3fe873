"""Delivery reports, pushed or polled: stored, and the moves along the rank."""

from django.db import transaction
from django.utils import timezone

from sms.models import SmsEvent, SmsMessage, Status
from sms.reports.words import end_of
from sms.signals import sms_delivered, sms_failed
from sms.text.redaction import blank_link, redact


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
