"""Row locks, taken in one order everywhere: payments, player, recipient of an invite, stake level, entries.

The stake level's lock is held until its transaction commits, and all matches of one amount wait for it. Two things keep
that short: it is taken last, and its transaction commits without waiting for the disk. `_flush` waits for the disk
after the commit, before anybody is told that the payment was processed. If the server crashes in between, the provider
repeats the callback or our poll settles the payment.
"""

import time

from django.db import OperationalError, connection, transaction
from django.db.models import BooleanField, Func, TextField, Value

from game.models import Player, StakeLevel
from sms.database import sqlstate

_LOCK_TIMEOUT = "55P03"
# Seconds for which stakes at a level fail at once after one of them ran into the lock timeout.
_FAIL_FAST_SECONDS = 1.0
_fail_until: dict[int, float] = {}
_COMMIT_WITHOUT_DISK = Func(
    Value("synchronous_commit"),
    Value("off"),
    Value(value=True, output_field=BooleanField()),  # until the end of the transaction
    function="set_config",
    output_field=TextField(),
)


def locked_player(phone: str) -> Player:
    """Lock the player's row, which is created if there is none. Two stakes of one phone wait for each other here."""
    [player] = Player.objects.bulk_create(
        [Player(phone=phone)], update_conflicts=True, unique_fields=["phone"], update_fields=["phone"]
    )
    return player


def lock_level(amount: int) -> None:
    """Lock the stake level's row, so that the second of two equal stakes sees the first.

    Row locks on other rows would let both find nobody, and both wait.

    After a lock timeout, raise OperationalError at once for a second: otherwise the stakes that wait for one locked
    level would occupy every thread of the site, one lock timeout after the other.
    """
    if time.monotonic() < _fail_until.get(amount, 0.0):
        raise OperationalError(f"Stake level {amount} was locked a moment ago.")
    levels = StakeLevel.objects.select_for_update(no_key=True).filter(amount=amount)
    if connection.vendor == "postgresql":
        levels = levels.annotate(commit=_COMMIT_WITHOUT_DISK)
        if not any(call[1] is _flush for call in connection.run_on_commit):
            transaction.on_commit(_flush)
    try:
        while not levels.all():
            StakeLevel.objects.bulk_create([StakeLevel(amount=amount)], ignore_conflicts=True)
    except OperationalError as error:
        if sqlstate(error) == _LOCK_TIMEOUT:
            _fail_until[amount] = time.monotonic() + _FAIL_FAST_SECONDS
        raise
    _fail_until.pop(amount, None)


def _flush() -> None:
    """Wait until everything that was committed so far is on disk (and on synchronous standbys)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_logical_emit_message(true, 'game', '')")


def lock_recipient(phone: str) -> None:
    """Let only one transaction at a time invite this number. SQLite has one writer at a time anyway.

    There is no row for a stranger's number, so PostgreSQL locks a hash of it until the transaction ends.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT PG_ADVISORY_XACT_LOCK(HASHTEXTEXTENDED(%s, 0))", [f"game.invite:{phone}"])
