"""Sent with `send_robust` inside the transaction that makes the change, after it is written."""

from django.dispatch import Signal

# payment, previous_status
momo_status_changed = Signal()
# payment: the provider said SUCCESS again. Receivers complete work that a crash interrupted after the first SUCCESS.
momo_success_repeated = Signal()
# payment, said: the provider contradicts its own end. SUCCESS: it had said FAILED before; the money is with us and is
# refund due. FAILED: it takes back a SUCCESS. Sent again if SUCCESS is said again: a receiver must bear repeats.
payment_contested = Signal()
# payment, refund: the money is back with the payer, by payout or by hand.
payment_refunded = Signal()
# payment (the winner's), refund (the payout): the prize of a match reached the winner, by payout or by hand.
prize_paid = Signal()
# payment: it was paid out, and then the provider took its money back.
payment_lost = Signal()
