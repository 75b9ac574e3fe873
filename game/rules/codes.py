"""Match codes, 6 characters without the ones that look alike, and the private matches behind them."""

import secrets

from django.db import IntegrityError, transaction
from django.utils.translation import gettext_noop as _

from game.models import Entry, Player
from game.rules.refused import Refused

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
LENGTH = 6
CODE_EXPIRED = _("This match code has expired.")
CODE_NOT_OPEN = _("This match is not open yet: its creator has not paid.")


def new_code() -> str:
    return "".join(secrets.choice(ALPHABET) for place in range(LENGTH))


def read_code(text: str) -> str:
    """The code in capitals; raises ValueError when it cannot be one."""
    code = text.strip().upper()
    if len(code) != LENGTH or any(char not in ALPHABET for char in code):
        raise ValueError(_("A match code has 6 letters and digits, like ABC234."))
    return code


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
        raise Refused(409, CODE_NOT_OPEN, "match_code")
    return entry


def joinable(code: str, player: Player | None, stake_amount: int) -> Entry:
    """The private match behind a code; raises Refused where this player cannot join it for this stake."""
    entry = open_match(code)
    if player is not None and entry.player_id == player.pk:
        raise Refused(409, _("You cannot join your own match."), "match_code")
    if entry.stake_amount != stake_amount:
        raise Refused(409, _("The stake of this match is %(stake)s UGX."), "stake_amount", stake=entry.stake_amount)
    return entry
