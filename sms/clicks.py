"""Click tracking: record when the link in a message was first followed, but not by whom."""

import logging
import re

from django.db import DatabaseError, transaction
from django.http import HttpRequest

from sms import clock
from sms.models import SmsEvent, SmsMessage

logger = logging.getLogger("sms.clicks")

_watched: set[str] = set()

# User agents of crawlers and link previews (WhatsApp, Facebook, iMessage …). In-app browsers and CUBOT phones do not
# match.
_PREVIEW = re.compile(
    r"(?<!cu)bot\b|crawler|spider|^whatsapp/|^viber|facebookexternalhit|facebookcatalog|meta-externalagent"
    r"|skypeuripreview|url ?preview|link ?preview|slack-imgproxy|google-(?:safety|pagerenderer)|embedly",
    re.IGNORECASE,
)


def watch(*kinds: str) -> None:
    """Register kinds of messages for which the SMS overview shows the percentage of clicked links.

    Call this in an AppConfig's `ready`.
    """
    _watched.update(kinds)


def watched() -> frozenset[str]:
    return frozenset(_watched)


def is_preview(request: HttpRequest) -> bool:
    """Return True if the request comes from a link preview, a crawler or a prefetch, and False otherwise."""
    purpose = request.headers.get("Sec-Purpose") or request.headers.get("Purpose") or ""
    return "prefetch" in purpose.lower() or _PREVIEW.search(request.headers.get("User-Agent", "")[:500]) is not None


def record_click(request: HttpRequest, *references: str) -> None:
    """Record the first click on the link in a message. `references`: dedupe keys to try in order, until one exists."""
    if is_preview(request):
        return
    try:
        with transaction.atomic():
            found = {row.dedupe_key: row for row in SmsMessage.objects.filter(dedupe_key__in=references)}
            message = next((found[key] for key in references if key in found), None)
            if message is None or message.opened_at is not None:
                return
            now = clock.now()
            if SmsMessage.objects.filter(pk=message.pk, opened_at=None).update(opened_at=now):
                SmsEvent.objects.create(message=message, at=now, what=SmsEvent.What.OPENED)
    # The visitor gets the page even if the click cannot be recorded.
    except DatabaseError as error:
        logger.warning(
            "sms.opening_not_kept: a click could not be recorded (%s)",
            type(error).__name__,
            exc_info=True,
            extra={"event": "sms.opening_not_kept"},
        )
