"""Made-up messages of one day, for `overview.png`. `make.py` runs this in the site's shell."""

import random
from datetime import timedelta

from django.utils import timezone

from sms.models import SmsEvent, SmsMessage

KINDS = ("payment_success", "payment_success", "payment_failed", "private_invite", "match_found", "match_found")
REFUSED = "DMark refuses the message (400): Invalid message format."
chance = random.Random(1)  # noqa: S311
now = timezone.now()
messages = []
for ago in range(24):
    local = timezone.localtime(now - timedelta(hours=ago)).hour
    for _ in range(20 if local < 7 else 60 if local < 16 else 120):
        at = now - timedelta(hours=ago, minutes=chance.uniform(0, 59))
        kind, dice = chance.choice(KINDS), chance.random()
        status, error = "delivered", ""
        if dice < 0.02:
            status, error = "failed", REFUSED
        elif dice < 0.05:
            status, error = "undelivered", "The network could not deliver it."
        elif dice < 0.07:
            status = "sent"
        accepted = at + timedelta(seconds=chance.uniform(0.1, 0.3)) if status != "failed" else None
        messages.append(
            SmsMessage(
                phone=f"+256{chance.choice(('77', '75'))}{chance.randrange(10**7):07}",
                text="Made up",
                kind=kind,
                status=status,
                error=error,
                created_at=at,
                expires_at=at + timedelta(hours=1),
                sent_at=accepted,
                delivered_at=accepted + timedelta(seconds=chance.uniform(1, 6)) if status == "delivered" else None,
                opened_at=at if kind in ("match_found", "private_invite") and chance.random() < 0.6 else None,
                attempts=1,
                segments=1,
            )
        )
SmsMessage.objects.bulk_create(messages)
SmsEvent.objects.bulk_create(
    SmsEvent(message=message, at=message.created_at, what="attempt", step="send", attempt=1, http_status=200)
    for message in messages
    if message.status == "failed"
)
