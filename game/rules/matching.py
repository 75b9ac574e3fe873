"""Putting two open entries together. Runs inside the transaction of whoever opens one, which holds the locks."""

from django.utils.crypto import get_random_string

from game import clock
from game.models import Entry, Session, life
from game.rules.validation import prize
from game.signals import session_committed

# Letters and digits alone: sites in front of us may take an address with others for another page's.
TOKEN_LENGTH = 24


def match(entry: Entry, *, paid_now: bool) -> None:
    """A session with who waits for this entry, if anybody does.

    `paid_now`: its payment's own text will tell of the match, so the session's texts leave this player out.
    """
    opponent = _opponent(entry)
    if opponent is not None:
        _commit_session(opponent, entry, paid_now=paid_now)


def _opponent(entry: Entry) -> Entry | None:
    """The creator of the match this entry joins, if it is still open; else who waits longest."""
    waiting = (
        Entry.objects.select_for_update(of=("self",))
        .filter(stake_amount=entry.stake_amount, status=Entry.Status.OPEN, expires_at__gt=clock.now())
        # Not an entry whose money the provider took back, nor one whose refund has begun.
        .filter(payment__contested=False, payment__refund_due=False, payment__refunded_at=None)
        .exclude(player_id=entry.player_id)
        .select_related("player")
    )
    if entry.joins_code:
        friend = waiting.filter(match_code=entry.joins_code).first()
        if friend is not None:
            return friend
    return waiting.filter(match_code=None).order_by("opened_at", "pk").first()


def _commit_session(first: Entry, second: Entry, *, paid_now: bool) -> None:
    now = clock.now()
    session = Session.objects.create(
        token=get_random_string(TOKEN_LENGTH),
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
