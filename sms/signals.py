"""Signals about messages. They are sent with `send_robust` after the change has been stored.

Receivers get the argument `message`: an SmsMessage, or an SmsInbound for `sms_received`.
"""

from django.dispatch import Signal

sms_sent = Signal()
# Sent after the status of a message changed to failed, undelivered, unknown, expired or rate_limited.
sms_failed = Signal()
sms_delivered = Signal()
sms_received = Signal()
