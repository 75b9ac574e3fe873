"""Sent with `send_robust` inside the transaction that makes the change, after it is written."""

from django.dispatch import Signal

# entry, invite_phone (E.164 or "")
private_match_created = Signal()
# session; entries: its two, loaded; told_by_payment: the entry whose payment completed the match, or None
session_committed = Signal()
# entry: it was left or expired without a match, and its money is refund due
refund_became_due = Signal()
