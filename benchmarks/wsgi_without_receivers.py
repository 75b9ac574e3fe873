"""The site without the signal receivers of the game, to measure a stake without its messages."""

from game.signals import private_match_created, session_committed
from playmatatu.wsgi import application

private_match_created.receivers.clear()
session_committed.receivers.clear()
private_match_created.sender_receivers_cache.clear()
session_committed.sender_receivers_cache.clear()

__all__ = ["application"]
