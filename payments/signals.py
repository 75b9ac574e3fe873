"""Sent with `send_robust` inside the transaction that makes the change, after it is written."""

from django.dispatch import Signal

# payment, previous_status
momo_status_changed = Signal()
# payment: the provider said SUCCESS again. Receivers complete work that a crash interrupted after the first SUCCESS.
momo_success_repeated = Signal()
# payment, said. The provider contradicts its own final status. SUCCESS: it had said FAILED; the money is with us and is
# refund due. FAILED: it takes back a SUCCESS. Receivers must be idempotent, since the signal may be sent again.
payment_contested = Signal()
# payment, refund: the money is back with the payer, by payout or by hand.
payment_refunded = Signal()
# payment (the winner's), refund (the payout): the prize of a match reached the winner, by payout or by hand.
prize_paid = Signal()
# payment: it was paid out, and then the provider took its money back.
payment_lost = Signal()
