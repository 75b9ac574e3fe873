"""The signals of the game. They are sent with `send_robust` inside the transaction that makes the change."""

from django.dispatch import Signal

# A private match became open to join. Arguments: `entry`; `invite_phone`, the number to invite in E.164 or "".
private_match_created = Signal()
# Two entries were matched. Arguments: `session`, the match; `entries`, the two entries; `told_by_payment`, the entry
# whose payment completed the match, or None.
session_committed = Signal()
# An entry or its match ended, and the money of the entry is due for refund. Argument: `entry`.
refund_became_due = Signal()
