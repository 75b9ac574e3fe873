"""Signals about messages.

They are sent with `send_robust` after the change has been stored. Receivers get the argument `message`: an SmsMessage,
or an SmsInbound for `sms_received`.
"""

from django.dispatch import Signal

sms_sent = Signal()
# Sent after a message got the status failed, undelivered, unknown, expired or rate_limited.
sms_failed = Signal()
sms_delivered = Signal()
sms_received = Signal()
