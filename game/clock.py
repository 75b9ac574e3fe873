"""The database's clock, which decides whether something has expired.

This module must keep its name, because migrations refer to `game.clock.now`.
"""

from sms.clock import now

__all__ = ["now"]
