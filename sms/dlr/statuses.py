"""Delivery reports, pushed or polled: what DMark's status words mean, and how a report changes a message."""

from django.db import transaction

from sms import clock
from sms.conf import PROVIDER
from sms.models import SmsEvent, SmsMessage, Status
from sms.signals import sms_delivered, sms_failed
from sms.text.redaction import blank_link, redact

# Besides DMark's own words these are SMPP's, which gateways pass on unchanged, and the numbers of DMark's older host:
# 1 delivered, 2 and 16 failed, 4 and 8 still on the way.
_FINAL = dict.fromkeys(("DELIVERED", "DELIVRD", "1"), Status.DELIVERED) | dict.fromkeys(
    (
        "FAILED", "EXPIRED", "REJECTED", "REJECTD", "UNDELIV", "UNDELIVERED", "UNDELIVERABLE", "BLACKLISTED", "DELETED",
        "2", "16",
    ),
    Status.UNDELIVERED,
)  # fmt: skip

# A report proves that DMark has the message, so a message in one of these statuses becomes at least `sent`. In the
# last three the message has ended, and the report counts only if a send request was made.
_ENDED = (Status.FAILED, Status.EXPIRED, Status.RATE_LIMITED)
_PROVED = (Status.SENDING, Status.UNKNOWN, *_ENDED)


def final_status(word: str) -> Status | None:
    """Return DELIVERED or UNDELIVERED for a final status word, and None for any other word."""
    return _FINAL.get(word.strip().upper())


def record_report(message_id: int, word: str, step: str) -> bool:
    """Store a delivery report, and change the message's status if the report is further along the rank order.

    `word`: DMark's status word in any case; an unknown word means still on the way; "" means a report without a status.
    `step`: push or poll. Returns False if the message does not exist.
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
    """Store the report, unless it equals the last one."""
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
    """Return True if DMark may have been sent this message, so that a report can change its status."""
    if message.status in _ENDED:
        return bool(message.attempts)
    # A queued message is on its way only if an earlier request of it was ambiguous.
    return message.status in (*_PROVED, Status.SENT) or (
        message.status == Status.QUEUED and bool(message.ambiguous_requests)
    )
