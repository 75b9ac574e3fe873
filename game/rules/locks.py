"""Row locks. All code takes them in the same order: payments, player, recipient of an invite, stake level, entries.

All matches of one amount wait for the lock on the stake level, which is held until its transaction commits. Two rules
keep this wait short: the lock is taken last, and the transaction commits without waiting for the disk.
`payments.database` waits for the disk later, before the provider gets a response.
"""

import time

from django.db import OperationalError, connection
from django.db.models import QuerySet

from game.models import Player, StakeLevel
from payments import database
from payments.statements import Select, insert
from sms.database import sqlstate

_LOCK_TIMEOUT = "55P03"
# After one stake has run into the lock timeout, stakes at the same level fail at once for this many seconds.
_FAIL_FAST_SECONDS = 1.0
_fail_until: dict[int, float] = {}


def _level(amount: int) -> "QuerySet[StakeLevel]":
    levels = StakeLevel.objects.select_for_update(no_key=True).filter(amount=amount)
    return levels.annotate(commit=database.NO_WAIT) if connection.vendor == "postgresql" else levels


_LEVEL = Select(_level)


class LevelLocked(OperationalError):
    """The row of a stake level is locked, or was locked within the last second.

    The exception has PostgreSQL's SQLSTATE for a lock timeout.
    """

    sqlstate = _LOCK_TIMEOUT


def locked_player(phone: str) -> Player:
    """Return the player's row, locked and created if necessary. The lock makes two stakes of one phone number wait
    for each other.
    """
    player = Player(phone=phone)
    insert([player], locks="phone")
    return player


def lock_level(amount: int) -> None:
    """Lock the row of the stake level, so that the later of two equal stakes finds the earlier one.

    If they locked only their own rows, both could find no opponent and wait.

    After a lock timeout, further calls raise LevelLocked at once for one second. Otherwise stakes that wait for one
    level could occupy all threads of the site.
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
    """Let only one transaction at a time invite this phone number.

    A stranger's number has no row to lock, so PostgreSQL takes an advisory lock on a hash of it. SQLite allows only one
    writer anyway.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT PG_ADVISORY_XACT_LOCK(HASHTEXTEXTENDED(%s, 0))", [f"game.invite:{phone}"])
