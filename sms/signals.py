"""Sent with `send_robust` and `message`, after the new status is stored."""

from django.dispatch import Signal

sms_sent = Signal()
sms_failed = Signal()
sms_delivered = Signal()
