"""Checks of the database after a crash. This module does not import Django; the check runs in another process."""

# The largest numbers of messages that the crash of one worker may duplicate: messages in flight, and results not
# stored.
IN_FLIGHT, UNWRITTEN = 64, 50
# Each committed session must have a text for both players, each active invite one text, and each settled payment one
# text.
AUDIT = """
import json
from django.db.models import Count
from game.models import Entry, Session
from payments.models import Payment
from sms.models import SmsMessage
keys = set(SmsMessage.objects.values_list("dedupe_key", flat=True))
missing = []
sessions = 0
for session in Session.objects.prefetch_related("entries"):
    sessions += 1
    for entry in session.entries.all():
        told = f"session:{session.pk}:{entry.player_id}" in keys
        paid = f"payment:{entry.payment_id}:success" in keys
        if not told and not paid:
            missing.append(f"session {session.pk} entry {entry.pk}")
for entry in Entry.objects.exclude(invite_phone="").exclude(opened_at=None):
    if entry.invite_key not in keys:
        missing.append(f"invite of {entry.pk}")
for payment in Payment.objects.exclude(status="PENDING"):
    if payment.callbacks.filter(applied=True).exists() and f"payment:{payment.pk}:{payment.status.lower()}" not in keys:
        missing.append(f"payment {payment.pk}")
print("AUDIT", json.dumps({"sessions": sessions, "texts": len(keys), "missing": missing}))
"""
