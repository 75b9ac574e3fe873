"""Payments, payouts, callbacks, the journal and the ledger in the admin: read-only, with confirmed, logged actions."""

from payments.admin import callbacks, journal, payments, payouts

__all__ = ["callbacks", "journal", "payments", "payouts"]
