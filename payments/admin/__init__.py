"""The admin of payments, payouts, callbacks, the journal and the ledger.

It is read-only, except for actions that must be confirmed and are logged.
"""

from payments.admin import callbacks, journal, payments, payouts

__all__ = ["callbacks", "journal", "payments", "payouts"]
