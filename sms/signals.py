"""Signals, sent with `send_robust` after the change has been stored.

Their argument `message` is an SmsMessage, or an SmsInbound in the case of `sms_received`.
"""

from django.dispatch import Signal

sms_sent = Signal()
# Sent for messages that get the status failed, undelivered, unknown, expired or rate_limited.
sms_failed = Signal()
sms_delivered = Signal()
sms_received = Signal()
