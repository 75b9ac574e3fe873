"""The database's time, which decides what is over. A module of its own, because migrations name `game.clock.now`."""

from sms.clock import now

__all__ = ["now"]
