"""Store an inbound SMS and carry out its command, STOP or START."""

import hashlib
import logging
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from sms import clock, suppression
from sms.dmark.responses import clean
from sms.inbound.commands import read_command
from sms.models import SmsInbound
from sms.signals import sms_received
from sms.text.redaction import mask_phone

logger = logging.getLogger("sms.inbound")

KEPT = timedelta(days=30)
LONGEST_TEXT = 1000
# At most this many inbound SMS of one phone number are stored per hour. A STOP or START is always stored.
MOST_PER_HOUR = 30

_SWITCHES = (SmsInbound.Command.STOP, SmsInbound.Command.START)


def receive(phone: str, text: str, short_code: str, timestamp: str) -> SmsInbound | None:
    """Store an inbound SMS and carry out its command. `phone`: E.164. `timestamp`: ISO 8601, as received.

    Returns None if the SMS is a repeated delivery, or if the phone has already sent MOST_PER_HOUR within an hour.
    """
    now = clock.now()
    message = SmsInbound(
        phone=phone,
        text=clean(text)[:LONGEST_TEXT],
        short_code=clean(short_code)[:40],
        command=read_command(text),
        sent_at=max(min(_time(timestamp) or now, now), now - KEPT),
        received_at=now,
        # If there is no timestamp, the same text from the same number within one minute counts as a repeated delivery.
        digest=_digest(phone, text, short_code, timestamp or now.isoformat(timespec="minutes")),
    )
    stored = _store(message)
    if message.command in _SWITCHES:
        # Carry out the command of a repeated delivery too: after the first delivery, a crash may have prevented the
        # change of the suppression list.
        _obey(phone)
    if not stored:
        return None
    sms_received.send_robust(SmsInbound, message=message)
    return message


def of_phone(phone: str) -> "QuerySet[SmsInbound]":
    """Return the stored inbound messages of a number (E.164), oldest first, for a customer timeline."""
    return SmsInbound.objects.filter(phone=phone).order_by("received_at", "pk")


def prune(now: datetime) -> int:
    """Delete inbound messages after 30 days. Returns how many were deleted. The suppression list is kept."""
    deleted, _ = SmsInbound.objects.filter(received_at__lt=now - KEPT).delete()
    return deleted


def _store(message: SmsInbound) -> bool:
    """Insert the row. Returns False if the SMS is already stored, or if its sender has sent too many SMS."""
    recent = SmsInbound.objects.filter(phone=message.phone, received_at__gt=message.received_at - timedelta(hours=1))
    if message.command not in _SWITCHES and recent.count() >= MOST_PER_HOUR:
        logger.warning(
            "sms.inbound_flood: over %s inbound messages from %s in an hour; this one is not stored",
            MOST_PER_HOUR,
            mask_phone(message.phone),
            extra={"event": "sms.inbound_flood", "phone": mask_phone(message.phone)},
        )
        return False
    try:
        with transaction.atomic():
            message.save(force_insert=True)
    except IntegrityError:
        return False
    return True


def _obey(phone: str) -> None:
    """Update the suppression list according to the newest STOP or START of this phone number.

    The number's rows are locked, so that the second of two concurrent deliveries sees the rows of both.
    """
    with transaction.atomic():
        switches = SmsInbound.objects.select_for_update().filter(phone=phone, command__in=_SWITCHES)
        last = max(switches, key=lambda message: (message.sent_at, message.pk))
        if last.command == SmsInbound.Command.STOP:
            changed = suppression.stop(phone, "The person sent STOP by SMS.")
        else:
            changed = suppression.start(phone)
    if changed:
        logger.info(
            "sms.inbound_command: %s sent %s, which changed the suppression list",
            mask_phone(phone),
            last.command.upper(),
            extra={"event": "sms.inbound_command", "phone": mask_phone(phone), "command": last.command},
        )


def _time(timestamp: str) -> datetime | None:
    try:
        at = parse_datetime(timestamp.strip())
    except ValueError:
        return None
    return timezone.make_aware(at) if at and timezone.is_naive(at) else at


def _digest(*fields: str) -> str:
    return hashlib.sha256("\0".join(fields).encode("utf-8", "replace")).hexdigest()
