"""The signals of the game. They are sent with `send_robust`, inside the transaction that makes the change."""

from django.dispatch import Signal

# Arguments: `entry`, and `invite_phone`, the number to invite in E.164 or "".
private_match_created = Signal()
# Arguments: `session`; `entries`, its two entries; `told_by_payment`, the entry whose payment completed the match, or
# None.
session_committed = Signal()
# Argument: `entry`, which was cancelled or expired without a match, so that its money is due for refund.
refund_became_due = Signal()
