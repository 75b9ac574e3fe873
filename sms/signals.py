"""Signals, sent with `send_robust` after the change is stored.

The first three have `message`, an SmsMessage; `sms_received` has `message`, an SmsInbound.
"""

from django.dispatch import Signal

sms_sent = Signal()
# Sent for the statuses failed, undelivered, unknown, expired and rate_limited.
sms_failed = Signal()
sms_delivered = Signal()
sms_received = Signal()
