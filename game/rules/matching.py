"""Activate a stake when its payment succeeds, and match it with a waiting opponent.

Activation first looks for a waiting opponent whom no other transaction has locked. Other players do not wait for this
search. If it finds nobody, activation does all other work, locks the stake level (`game.rules.locks`) and searches
again. Without the second search, two players who pay at the same time could miss each other and both wait.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce
from django.utils.crypto import get_random_string

from game import keys
from game.models import Entry, Session, match_life, stake_life
from game.rules.ending import end, end_expired
from game.rules.limits import admit_invite
from game.rules.locks import lock_level, locked_player
from game.rules.validation import prize
from game.signals import private_match_created, session_committed
from payments import database, journal, services
from payments.models import Payment
from payments.statements import Select, Update, insert, new, update
from sms import clock

# Length of a match's token. A token has only letters and digits, because some proxies rewrite other characters in URLs.
TOKEN_LENGTH = 24
_AT_ONCE = 500


def _waiting(amount: Any, player: Any, now: Any) -> "QuerySet[Entry]":
    return (
        Entry.objects.filter(stake_amount=amount, status=Entry.Status.OPEN, expires_at__gt=now)
        # Keep entries whose money has arrived, and entries that count as paid without money (MOMO_AUTO_APPROVE).
        .filter(Q(payment__place="in_use") | Q(payment__collected_at=None))
        # Leave out entries whose payment is due for refund, refunded, or contested (its final status was contradicted).
        .filter(payment__contested=False, payment__refund_due=False, payment__refunded_at=None)
        .exclude(player_id=player)
    )


def _longest(amount: Any, player: Any, now: Any) -> "QuerySet[Entry]":
    return _waiting(amount, player, now).filter(match_code=None).order_by("opened_at", "pk")[:1]


def _locked(entries: "QuerySet[Entry]", *, skip_locked: bool = False) -> "QuerySet[Entry]":
    locked = entries.select_for_update(of=("self",), no_key=True, skip_locked=skip_locked)
    locked = locked.select_related("player", "payment")
    return locked.annotate(commit=database.NO_WAIT) if connection.vendor == "postgresql" else locked


_FRIEND = Select(lambda code, **waiting: _locked(_waiting(**waiting).filter(match_code=code)))
_LONGEST_WAITING = Select(lambda **waiting: _locked(_longest(**waiting)))
_LONGEST_NOT_LOCKED = Select(lambda **waiting: _locked(_longest(**waiting), skip_locked=True))
_OF_PAYER = Select(
    lambda payment, player, now: (
        Entry.objects.filter(Q(payment=payment) | Q(status=Entry.Status.OPEN), player=player)
        .select_related("payment")
        .annotate(may_match=Exists(_longest(OuterRef("stake_amount"), OuterRef("player"), now)))
    )
)

_MATCH = Update(
    lambda first, second, session, opened, until: (
        Entry.objects.filter(pk__in=(first, second)),
        {
            "status": Entry.Status.MATCHED,
            "session": session,
            "reason": "",
            "ended_at": None,
            # `first` keeps its times. The row of `second` may not have these times yet.
            "opened_at": Coalesce("opened_at", Value(opened)),
            "expires_at": Coalesce("expires_at", Value(until)),
        },
    )
)


def activate_paid(payment: Payment) -> Entry | None:
    """Activate the entry of a successful payment, even if the entry has expired.

    Return the entry, or None if the payment has none. If the player has another active entry, the payment becomes due
    for refund instead. If the payment is contested, refunded or due for refund, nothing is changed. The caller has
    locked the payment.
    """
    if payment.refund_due or payment.refunded_at or payment.contested:
        return Entry.objects.filter(payment=payment).first()
    player = locked_player(payment.phone)
    entries = _OF_PAYER(payment=payment.pk, player=player.pk, now=clock.now())
    entry = next((entry for entry in entries if entry.payment_id == payment.pk), None)
    if entry is None or entry.opened_at is not None:
        return entry
    entry.player = player
    if any(other.status == Entry.Status.OPEN for other in end_expired(entries)):
        services.held(payment)
        if entry.status != Entry.Status.EXPIRED:
            end([entry], "refund_due")
    else:
        activate(entry, payment, paid_now=True, may_match=entry.may_match)
    return entry


def activate(entry: Entry, payment: Payment, *, paid_now: bool = False, may_match: bool = True) -> None:
    """Activate the entry and match it with a waiting opponent, if there is one.

    `paid_now`: if True, the player's message about the payment also reports the match. `may_match`: False if a query of
    this transaction has shown that no opponent waits. The search before the lock of the stake level is then skipped.
    The caller has locked the payment and the player.
    """
    admit_invite(entry)
    now = clock.now()
    entry.start_life(now)
    services.activated(payment)
    if entry.match_code:
        _save(entry)
        journal.raise_if_timed_out(
            private_match_created.send_robust(Entry, entry=entry, invite_phone=entry.invite_phone)
        )
        return
    database.wait_after_commit()
    opponent = _opponent(entry) if may_match or entry.joins_code else None
    if opponent is None:
        _save(entry)
        journal.insert_now()
        lock_level(entry.stake_amount)
        opponent = _first_unchanged(_LONGEST_WAITING, entry)
    if opponent is not None:
        _match(opponent, entry, payment, opened=now, paid_now=paid_now)


def _save(entry: Entry) -> None:
    update(entry, ["status", "reason", "opened_at", "expires_at", "ended_at", "invite_phone", "invite_refused"])


def _opponent(entry: Entry) -> Entry | None:
    """Return the opponent for this entry, with the row locked, or None.

    If the entry joins a friend by code and the friend still waits, the friend is the opponent. Otherwise the opponent
    is the entry that has waited longest among those that no other transaction has locked.
    """
    friend = _first_unchanged(_FRIEND, entry, code=entry.joins_code) if entry.joins_code else None
    return friend or _LONGEST_NOT_LOCKED.first(**_wanted(entry))


def _first_unchanged(search: Select[Entry], entry: Entry, **more: Any) -> Entry | None:
    """Return the first entry that a search finds twice in a row, or None.

    The first search may wait for the lock of the entry, and then returns the payment as it was before the wait. In the
    meantime, the money may have been refunded.
    """
    found = None
    while (again := search.first(**_wanted(entry), **more)) != found:
        found = again
    return again


def _wanted(entry: Entry) -> dict[str, Any]:
    return {"amount": entry.stake_amount, "player": entry.player_id, "now": clock.now()}


def _match(first: Entry, second: Entry, payment: Payment, *, opened: datetime, paid_now: bool) -> None:
    """Match two entries. `first` was already waiting.

    `payment`: the payment of `second`, the entry activated now. `opened`: the time of its activation.
    """
    now = clock.now()
    session = new(
        Session,
        token=get_random_string(TOKEN_LENGTH),
        stake_amount=second.stake_amount,
        prize_amount=prize(second.stake_amount),
        created_at=now,
        expires_at=now + match_life(),
    )
    insert([session])
    for entry in (first, second):
        entry.status, entry.session = Entry.Status.MATCHED, session
    _MATCH(first=first.pk, second=second.pk, session=session.pk, opened=opened, until=opened + stake_life())
    for paid in (first.payment, payment):
        journal.matched(paid, keys.matched(session.pk))
    told = second if paid_now else None
    journal.raise_if_timed_out(
        session_committed.send_robust(Session, session=session, entries=(first, second), told_by_payment=told)
    )


def left_inactive(within: timedelta | None = None) -> list[Payment]:
    """Return payments that succeeded but whose entries are still inactive, for example after a crash.

    `within`: the period before now in which a payment must have been collected. None searches all payments.
    """
    payments = Payment.objects.all()
    if within is not None:
        payments = payments.filter(collected_at__gt=clock.now() - within)
    return list(
        payments.filter(
            status=Payment.Status.SUCCESS,
            refund_due=False,
            refunded_at=None,
            contested=False,
            place__in=("", "in_use"),
            entry__isnull=False,
            entry__opened_at=None,
        )[:_AT_ONCE]
    )
