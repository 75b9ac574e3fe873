"""Sent with `send_robust` inside the transaction that makes the change, after it is written."""

from django.dispatch import Signal

# payment, previous_status
momo_status_changed = Signal()
# payment: the provider said SUCCESS once more; what a crash left undone after the first time can be done now.
momo_success_repeated = Signal()
