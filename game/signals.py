"""Sent with `send_robust` inside the transaction that makes the change, after it is written."""

from django.dispatch import Signal

# entry, invite_phone (E.164 or "")
private_match_created = Signal()
# session; entries: its two, as the sender has them
session_committed = Signal()
# entry: its time ended, or it was left, without a match, and its money is with us
refund_became_due = Signal()
