"""Row locks. All code takes them in the same order: payments, player, recipient of an invite, stake level, entries.

All matches of one amount wait for the lock on the stake level, which is held until its transaction commits. Two rules
keep this wait short: the lock is taken last, and the transaction commits without waiting for the disk. `_flush` waits
for the disk after the commit, before the provider gets a response. If the server crashes before that, the provider
repeats its callback, or a status poll settles the payment.
"""

import time

from django.db import OperationalError, connection, transaction
from django.db.models import BooleanField, Func, QuerySet, TextField, Value

from game.models import Player, StakeLevel
from payments.statements import Select, insert
from sms.database import sqlstate

_LOCK_TIMEOUT = "55P03"
# After one stake has run into the lock timeout, stakes at the same level fail at once for this many seconds.
_FAIL_FAST_SECONDS = 1.0
_fail_until: dict[int, float] = {}
_COMMIT_WITHOUT_DISK = Func(
    Value("synchronous_commit"),
    Value("off"),
    Value(value=True, output_field=BooleanField()),  # The setting applies until the end of the transaction.
    function="set_config",
    output_field=TextField(),
)


def _level(amount: int) -> "QuerySet[StakeLevel]":
    levels = StakeLevel.objects.select_for_update(no_key=True).filter(amount=amount)
    return levels.annotate(commit=_COMMIT_WITHOUT_DISK) if connection.vendor == "postgresql" else levels


_LEVEL = Select(_level)


class LevelLocked(OperationalError):
    """Raised if the stake level could not be locked within the last second. Has PostgreSQL's SQLSTATE for a lock
    timeout.
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
    """Lock the row of the stake level, so that of two equal stakes the second finds the first.

    If they locked only their own rows, both could find no opponent and wait.

    For a second after a lock timeout, raise LevelLocked at once. Otherwise stakes that wait for one level could
    occupy all threads of the site.
    """
    if time.monotonic() < _fail_until.get(amount, 0.0):
        raise LevelLocked(f"Stake level {amount} was locked a moment ago.")
    if connection.vendor == "postgresql" and not any(call[1] is _flush for call in connection.run_on_commit):
        transaction.on_commit(_flush)
    try:
        while not _LEVEL(amount=amount):
            StakeLevel.objects.bulk_create([StakeLevel(amount=amount)], ignore_conflicts=True)
    except OperationalError as error:
        if sqlstate(error) == _LOCK_TIMEOUT:
            _fail_until[amount] = time.monotonic() + _FAIL_FAST_SECONDS
        raise
    _fail_until.pop(amount, None)


def _flush() -> None:
    """Wait until everything committed before is on disk, and on synchronous standbys."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_logical_emit_message(true, 'game', '')")


def lock_recipient(phone: str) -> None:
    """Let only one transaction at a time invite this phone number.

    A stranger's number has no row to lock, so PostgreSQL takes an advisory lock on a hash of it. SQLite allows only one
    writer anyway.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT PG_ADVISORY_XACT_LOCK(HASHTEXTEXTENDED(%s, 0))", [f"game.invite:{phone}"])
