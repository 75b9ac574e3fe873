"""Row locks of the game. They are always taken in this order: payments, player, invited number, stake level, entries.

All stakes of one amount share a stake level, so it must be locked for a short time only. It is locked just before the
search for an opponent. The commit frees the lock without waiting for the disk. This wait comes later, before the
response (`payments.database`).
"""

import time

from django.db import OperationalError, connection
from django.db.models import QuerySet

from game.models import Player, StakeLevel
from payments import database
from payments.statements import Select, insert, new
from sms.database import sqlstate

_LOCK_TIMEOUT = "55P03"
# For this many seconds after a lock timeout, further attempts to lock the same stake level fail at once.
_FAIL_FAST_SECONDS = 1.0
_fail_until: dict[int, float] = {}


def _level(amount: int) -> "QuerySet[StakeLevel]":
    levels = StakeLevel.objects.select_for_update(no_key=True).filter(amount=amount)
    return levels.annotate(commit=database.NO_WAIT) if connection.vendor == "postgresql" else levels


_LEVEL = Select(_level)


class LevelLocked(OperationalError):
    """Raised without an attempt to lock the stake level, because an attempt within the last second has timed out."""

    sqlstate = _LOCK_TIMEOUT


_PLAYER = Select(lambda phone: Player.objects.select_for_update(no_key=True).filter(phone=phone))


def new_or_locked_player(phone: str) -> Player:
    """Return the player with this phone number, created if necessary, with the row locked."""
    player = new(Player, phone=phone)
    insert([player], locks="phone")
    return player


def locked_player(phone: str) -> Player:
    """Return the player with this phone number, with the row locked.

    For an existing player, this is faster than `new_or_locked_player`.
    """
    return _PLAYER.first(phone=phone) or new_or_locked_player(phone)


def lock_level(amount: int) -> None:
    """Lock the row of a stake level, so that two equal stakes activated at the same time find each other.

    For one second after a lock timeout, raise LevelLocked at once, so that waiting stakes do not occupy all threads.
    """
    if time.monotonic() < _fail_until.get(amount, 0.0):
        raise LevelLocked(f"Stake level {amount} was locked a moment ago.")
    database.wait_after_commit()
    try:
        while not _LEVEL(amount=amount):
            StakeLevel.objects.bulk_create([StakeLevel(amount=amount)], ignore_conflicts=True)
    except OperationalError as error:
        if sqlstate(error) == _LOCK_TIMEOUT:
            _fail_until[amount] = time.monotonic() + _FAIL_FAST_SECONDS
        raise
    _fail_until.pop(amount, None)


def lock_recipient(phone: str) -> None:
    """Make concurrent invites to this phone number wait for each other.

    This is an advisory lock, because an invited number may have no row. SQLite needs no lock.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT PG_ADVISORY_XACT_LOCK(HASHTEXTEXTENDED(%s, 0))", [f"game.invite:{phone}"])
