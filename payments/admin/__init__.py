"""The admin pages of payments, payouts, callbacks, the journal and the ledger.

Rows cannot be edited. Actions that move or settle money must be confirmed, and are logged.
"""

from payments.admin import callbacks, journal, payments, payouts

__all__ = ["callbacks", "journal", "payments", "payouts"]
