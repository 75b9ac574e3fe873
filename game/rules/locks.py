"""Row locks, taken in one order everywhere: payment, player, stake level, entries, recipient of an invite."""

from django.db import connection

from game.models import Player, StakeLevel


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
    """
    while StakeLevel.objects.select_for_update().filter(amount=amount).first() is None:
        StakeLevel.objects.get_or_create(amount=amount)


def lock_recipient(phone: str) -> None:
    """Invites to one number leave one after the other. Where only one transaction writes at a time they do anyway.

    No row stands for a stranger's number, so on PostgreSQL it is a lock by name, until the transaction ends.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT PG_ADVISORY_XACT_LOCK(HASHTEXTEXTENDED(%s, 0))", [f"game.invite:{phone}"])
