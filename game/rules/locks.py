"""Row locks, taken in one order everywhere: payment, player, stake level, entries, recipient of an invite."""

import time

from django.db import OperationalError, connection

from game.models import Player, StakeLevel
from sms.database import sqlstate

_LOCK_TIMEOUT = "55P03"
# Seconds for which stakes at a level fail at once after one of them ran into the lock timeout.
_FAIL_FAST_SECONDS = 1.0
_fail_until: dict[int, float] = {}


def locked_player(phone: str) -> Player:
    """Whose row two stakes of one phone queue up for."""
    while True:
        player = Player.objects.select_for_update().filter(phone=phone).first()
        if player is not None:
            return player
        Player.objects.get_or_create(phone=phone)  # which may be pruned before the next look


def lock_level(amount: int) -> None:
    """The stake level's row makes the second of two equal stakes see the first.

    Row locks on other rows would let both find nobody, and both wait.

    After a lock timeout, raise OperationalError at once for a second: otherwise the stakes that wait for one locked
    level would occupy every thread of the site, one lock timeout after the other.
    """
    if time.monotonic() < _fail_until.get(amount, 0.0):
        raise OperationalError(f"Stake level {amount} was locked a moment ago.")
    try:
        while StakeLevel.objects.select_for_update().filter(amount=amount).first() is None:
            StakeLevel.objects.get_or_create(amount=amount)
    except OperationalError as error:
        if sqlstate(error) == _LOCK_TIMEOUT:
            _fail_until[amount] = time.monotonic() + _FAIL_FAST_SECONDS
        raise
    _fail_until.pop(amount, None)


def lock_recipient(phone: str) -> None:
    """Invites to one number leave one after the other. Where only one transaction writes at a time they do anyway.

    No row stands for a stranger's number, so on PostgreSQL it is a lock by name, until the transaction ends.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT PG_ADVISORY_XACT_LOCK(HASHTEXTEXTENDED(%s, 0))", [f"game.invite:{phone}"])
