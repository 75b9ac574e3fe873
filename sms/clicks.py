"""Did it help: when the link of a text was opened for the first time. That it was, not by whom."""

import logging

from django.db import DatabaseError, transaction
from django.utils import timezone

from sms.models import SmsEvent, SmsMessage

logger = logging.getLogger("sms.clicks")

_watched: set[str] = set()


def watch(*kinds: str) -> None:
    """The overview shows which share of these kinds was opened; call it in an AppConfig's `ready`."""
    _watched.update(kinds)


def watched() -> frozenset[str]:
    return frozenset(_watched)


def opened(*references: str) -> None:
    """Somebody followed the link of the first of these texts (dedupe keys) that there is. The first time is kept."""
    try:
        with transaction.atomic():
            found = {row.dedupe_key: row for row in SmsMessage.objects.filter(dedupe_key__in=references)}
            message = next((found[key] for key in references if key in found), None)
            if message is None or message.opened_at is not None:
                return
            now = timezone.now()
            if SmsMessage.objects.filter(pk=message.pk, opened_at=None).update(opened_at=now):
                SmsEvent.objects.create(message=message, at=now, what=SmsEvent.What.OPENED)
    # The page that was asked for is worth more than this.
    except DatabaseError:
        logger.warning("sms.opening_not_kept", exc_info=True, extra={"event": "sms.opening_not_kept"})
