"""Meanings of DMark's status words, and the effect of a delivery report on the status of a message."""

from django.db import transaction

from sms import clock
from sms.conf import PROVIDER
from sms.models import SmsEvent, SmsMessage, Status
from sms.signals import sms_delivered, sms_failed
from sms.text.redaction import blank_link, redact

# DMark's own words, the words of SMPP, which gateways pass on unchanged, and the numbers of DMark's older host: 1 means
# delivered, 2 and 16 mean failed. Its numbers 4 and 8 mean that the message is still on the way.
_FINAL = dict.fromkeys(("DELIVERED", "DELIVRD", "1"), Status.DELIVERED) | dict.fromkeys(
    (
        "FAILED", "EXPIRED", "REJECTED", "REJECTD", "UNDELIV", "UNDELIVERED", "UNDELIVERABLE", "BLACKLISTED", "DELETED",
        "2", "16",
    ),
    Status.UNDELIVERED,
)  # fmt: skip

# A delivery report proves that DMark has the message. Therefore a message with a status in `_PROVED` becomes `sent` or
# gets a final status. In the statuses of `_ENDED`, a report counts only if a send request was made.
_ENDED = (Status.FAILED, Status.EXPIRED, Status.RATE_LIMITED)
_PROVED = (Status.SENDING, Status.UNKNOWN, *_ENDED)


def final_status(word: str) -> Status | None:
    """Return DELIVERED or UNDELIVERED for a final status word, and None for any other word."""
    return _FINAL.get(word.strip().upper())


def record_report(message_id: int, word: str, step: str) -> bool:
    """Store a delivery report and update the status of its message. A delivered message stays delivered.

    `word`: DMark's status word in any case. An unknown word means that the message is still on the way, and "" means
    that the report has no status. `step`: push or poll. Returns False if the message does not exist.
    """
    word = word.strip().upper()[:50]
    with transaction.atomic():
        message = SmsMessage.objects.select_for_update().filter(pk=message_id).first()
        if message is None:
            return False
        if word:
            _store(message, redact(word), step)
        before = message.status
        _apply(message, word)
    if message.status != before and message.status in (Status.DELIVERED, Status.UNDELIVERED):
        signal = sms_delivered if message.status == Status.DELIVERED else sms_failed
        signal.send_robust(SmsMessage, message=message)
    return True


def _store(message: SmsMessage, word: str, step: str) -> None:
    """Store the report unless it equals the last one for this message."""
    last = message.events.filter(what=SmsEvent.What.REPORT).order_by("-at", "-pk").first()
    if last is None or last.answer != word:
        SmsEvent.objects.create(message=message, at=clock.now(), what=SmsEvent.What.REPORT, step=step, answer=word)


def _apply(message: SmsMessage, word: str) -> None:
    now, before, final = clock.now(), message.status, final_status(word)
    if final == Status.DELIVERED and before != Status.DELIVERED:
        message.status, message.delivered_at, message.error = Status.DELIVERED, now, ""
        message.text, message.holds_link = blank_link(message.text), False
    elif word and _may_have_been_sent(message):
        if final == Status.UNDELIVERED:
            message.status, message.error = Status.UNDELIVERED, f"{PROVIDER} could not deliver it ({word})."
        elif before != Status.SENT:
            message.status, message.error = Status.SENT, ""
    if message.status != before:
        message.sent_at = message.sent_at or now
        message.save(update_fields=["status", "sent_at", "delivered_at", "text", "holds_link", "error"])


def _may_have_been_sent(message: SmsMessage) -> bool:
    """Return True if DMark may have the message, so that a report can change its status."""
    if message.status in _ENDED:
        return bool(message.attempts)
    # DMark can have a queued message only if an earlier request for it was ambiguous.
    return message.status in (*_PROVED, Status.SENT) or (
        message.status == Status.QUEUED and bool(message.ambiguous_requests)
    )
