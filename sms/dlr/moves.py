"""Delivery reports, pushed or polled: stored, and the moves along the rank."""

from django.db import transaction

from sms import clock
from sms.dlr.words import end_of
from sms.models import SmsEvent, SmsMessage, Status
from sms.signals import sms_delivered, sms_failed
from sms.text.redaction import blank_link, redact

# A report of any word proves that DMark has the text: what was under way, in doubt or given up is `sent` at least.
_PROVED = (Status.SENDING, Status.UNKNOWN, Status.FAILED, Status.EXPIRED, Status.RATE_LIMITED)


def take(message_id: int, word: str, step: str) -> bool:
    """Store a report and move the message, if that is a move forward. False: there is no such message.

    `word`: DMark's, in any case; an unknown one means still on its way. `step`: push or poll.
    """
    word = word.strip().upper()[:50]
    end = end_of(word)
    with transaction.atomic():
        message = SmsMessage.objects.select_for_update().filter(pk=message_id).first()
        if message is None:
            return False
        if word:
            _keep(message, redact(word), step)
        before = message.status
        _move(message, word, end)
    if message.status != before and message.status in (Status.DELIVERED, Status.UNDELIVERED):
        signal = sms_delivered if message.status == Status.DELIVERED else sms_failed
        signal.send_robust(SmsMessage, message=message)
    return True


def _keep(message: SmsMessage, word: str, step: str) -> None:
    """A report equal to the last one tells nothing new."""
    last = message.events.filter(what=SmsEvent.What.REPORT).order_by("-at", "-pk").first()
    if last is None or last.answer != word:
        SmsEvent.objects.create(message=message, at=clock.now(), what=SmsEvent.What.REPORT, step=step, answer=word)


def _move(message: SmsMessage, word: str, end: Status | None) -> None:
    now, status = clock.now(), message.status
    if end == Status.DELIVERED and status != Status.DELIVERED:
        message.delivered_at, message.error = now, ""
        message.text, message.holds_link = blank_link(message.text), False
        message.status = Status.DELIVERED
    elif word and (status in (*_PROVED, Status.SENT) or (status == Status.QUEUED and message.doubts)):
        # Of a text that DMark was never asked for nothing is proved; a text in the queue waits to be sent, unless an
        # earlier request of it is in doubt.
        if status in _PROVED[2:] and not message.attempts:
            return
        if end == Status.UNDELIVERED:
            message.status, message.error = Status.UNDELIVERED, f"DMark could not deliver it ({word})."
        elif status != Status.SENT:
            message.status, message.error = Status.SENT, ""
    if message.status != status:
        message.sent_at = message.sent_at or now
        message.save(update_fields=["status", "sent_at", "delivered_at", "text", "holds_link", "error"])
