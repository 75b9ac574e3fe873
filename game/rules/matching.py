"""Opening entries and putting two together. Everything here runs inside the caller's transaction.

Locks are taken in one order: payment, player, stake level, entries. The stake level's row is what makes the second
of two equal stakes see the first: row locks on other rows would let both find nobody, and both wait.
"""

import secrets

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from game.models import Entry, Player, Session, StakeLevel, life
from game.rules.codes import new_code
from game.rules.refused import Refused
from game.signals import private_match_created, session_committed

CODE_EXPIRED = _("This match code has expired.")


def locked_player(phone: str) -> Player:
    player, _created = Player.objects.get_or_create(phone=phone)
    return Player.objects.select_for_update().get(pk=player.pk)


def lock_level(amount: int) -> None:
    StakeLevel.objects.get_or_create(amount=amount)
    StakeLevel.objects.select_for_update().get(amount=amount)


def end_what_is_over(player: Player) -> None:
    """Entries of this player that are past their time no longer stand in the way."""
    Entry.objects.filter(player=player, status=Entry.Status.OPEN, expires_at__lte=timezone.now()).update(
        status=Entry.Status.EXPIRED, reason="timed_out"
    )


def has_open_entry(player: Player) -> bool:
    return Entry.objects.filter(player=player, status=Entry.Status.OPEN).exists()


def open_match(code: str) -> Entry:
    """The private match behind a code; raises Refused where nobody can join it."""
    entry = Entry.objects.select_related("player").filter(match_code=code).first()
    if entry is None:
        raise Refused(404, _("No match has this code; check it with your friend."), "match_code")
    if entry.status == Entry.Status.MATCHED:
        raise Refused(409, _("This match code has been used already."), "match_code")
    if entry.state == Entry.Status.EXPIRED:
        raise Refused(409, CODE_EXPIRED, "match_code")
    if entry.status == Entry.Status.AWAITING_PAYMENT:
        raise Refused(409, _("This match is not open yet: its creator has not paid."), "match_code")
    return entry


def joinable(code: str, player: Player | None, stake_amount: int) -> Entry:
    """The private match behind a code; raises Refused where this player cannot join it for this stake."""
    entry = open_match(code)
    if player is not None and entry.player_id == player.pk:
        raise Refused(409, _("You cannot join your own match."), "match_code")
    if entry.stake_amount != stake_amount:
        raise Refused(409, _("The stake of this match is %(stake)s UGX."), "stake_amount", stake=entry.stake_amount)
    return entry


def open_entry(entry: Entry, *, paid_now: bool = False) -> None:
    """Open a paid entry, and match it if somebody waits. The caller holds the player's and the level's lock.

    `paid_now`: its payment's own text will tell of the match, so the session's texts leave this player out.
    """
    now = timezone.now()
    entry.open_now(now)
    entry.save()
    if entry.match_code:
        private_match_created.send_robust(Entry, entry=entry, invite_phone=entry.invite_phone)
        return
    opponent = _opponent(entry)
    if opponent is not None:
        _commit_session(opponent, entry, paid_now=paid_now)


def _opponent(entry: Entry) -> Entry | None:
    """The creator of the match this entry joins, if it is still open; else who waits longest."""
    waiting = (
        Entry.objects.select_for_update(of=("self",))
        .filter(stake_amount=entry.stake_amount, status=Entry.Status.OPEN, expires_at__gt=timezone.now())
        .exclude(player_id=entry.player_id)
        .select_related("player")
    )
    if entry.joins_code:
        friend = waiting.filter(match_code=entry.joins_code).first()
        if friend is not None:
            return friend
    return waiting.filter(match_code=None).order_by("opened_at", "pk").first()


def payable(stake_amount: int) -> int:
    """What a player pays: the stake and the commission."""
    return stake_amount + int(settings.COMMISSION_FLAT)


def prize(stake_amount: int) -> int:
    """What the winner gets."""
    return max(0, 2 * stake_amount - settings.COMMISSION_FLAT)


def _commit_session(first: Entry, second: Entry, *, paid_now: bool) -> None:
    now = timezone.now()
    session = Session.objects.create(
        token=secrets.token_urlsafe(18),
        stake_amount=second.stake_amount,
        prize_amount=prize(second.stake_amount),
        created_at=now,
        expires_at=now + life(),
    )
    for entry in (first, second):
        entry.status, entry.session = Entry.Status.MATCHED, session
        entry.save(update_fields=["status", "session"])
    session_committed.send_robust(
        Session, session=session, entries=(first, second), told_by_payment=second if paid_now else None
    )


def give_code(entry: Entry) -> None:
    """Save the entry with a match code that nobody has."""
    for _attempt in range(20):
        entry.match_code = new_code()
        try:
            with transaction.atomic():
                entry.save()
        except IntegrityError:
            if not Entry.objects.filter(match_code=entry.match_code).exists():
                raise
        else:
            return
    raise RuntimeError("No free match code found in 20 draws.")
