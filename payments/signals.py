"""Signals about payments, for the app that uses them. They are sent with `send_robust` inside the transaction that
makes the change.
"""

from django.dispatch import Signal

# Arguments: `payment`, `previous_status`. The payment's status has changed.
momo_status_changed = Signal()
# Argument: `payment`. The provider repeated SUCCESS. Receivers complete work that a crash interrupted the first time.
momo_success_repeated = Signal()
# Arguments: `payment`, `said`. The provider contradicts its own final status. If `said` is SUCCESS, it had reported
# FAILED before; we now have the money, and it is due for refund. If `said` is FAILED, it had reported SUCCESS before.
# Receivers must be idempotent, because the signal may be sent again.
payment_contested = Signal()
# Arguments: `payment`, `refund`. The payer has the money back, through the provider or by hand.
payment_refunded = Signal()
# Arguments: `payment` (the winner's) and `refund` (the payout). The winner has the prize, through the provider or by
# hand.
prize_paid = Signal()
# Argument: `payment`. Its money was paid out, and afterwards the provider took the money back from us.
payment_lost = Signal()
