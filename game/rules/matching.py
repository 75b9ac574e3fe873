"""Activate a stake when its payment succeeds, and match it with a waiting opponent."""

from datetime import datetime, timedelta

from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Coalesce
from django.utils.crypto import get_random_string

from game import keys
from game.models import Entry, Session, match_life, stake_life
from game.rules.ending import end, end_expired
from game.rules.limits import admit_invite
from game.rules.locks import lock_level, locked_player
from game.rules.validation import prize
from game.signals import private_match_created, session_committed
from payments import journal, services
from payments.models import Payment
from payments.statements import Select, Update, insert, new, update
from sms import clock

# Length of a match's token. A token has only letters and digits, because some proxies rewrite other characters in URLs.
TOKEN_LENGTH = 24
_AT_ONCE = 500


def _waiting(amount: int, player: int, now: datetime) -> "QuerySet[Entry]":
    return (
        Entry.objects.select_for_update(of=("self",), no_key=True)
        .filter(stake_amount=amount, status=Entry.Status.OPEN, expires_at__gt=now)
        # Select only entries whose money has arrived or that count as paid without money (MOMO_AUTO_APPROVE). If the
        # journal lacks the payment (`version` 0) or its last change (`stale`), `place` is empty or outdated.
        .filter(
            Q(payment__place="in_use") | Q(payment__collected_at=None) | Q(payment__version=0) | Q(payment__stale=True)
        )
        # Leave out payments that are contested (the provider contradicted their status), due for refund or refunded.
        .filter(payment__contested=False, payment__refund_due=False, payment__refunded_at=None)
        .exclude(player_id=player)
        .select_related("player", "payment")
    )


_FRIEND = Select(lambda code, **waiting: _waiting(**waiting).filter(match_code=code))
_LONGEST_WAITING = Select(lambda **waiting: _waiting(**waiting).filter(match_code=None).order_by("opened_at", "pk")[:1])
_OF_PAYER = Select(
    lambda payment, player: Entry.objects.filter(
        Q(payment=payment) | Q(status=Entry.Status.OPEN), player=player
    ).select_related("payment")
)

_MATCH = Update(
    lambda first, second, session, now, until: (
        Entry.objects.filter(pk__in=(first, second)),
        {
            "status": Entry.Status.MATCHED,
            "session": session,
            "reason": "",
            "ended_at": None,
            # `first` was opened earlier and keeps its times. Only `second` gets new ones.
            "opened_at": Coalesce("opened_at", Value(now)),
            "expires_at": Coalesce("expires_at", Value(until)),
        },
    )
)


def activate_paid(payment: Payment) -> Entry | None:
    """Activate the entry of a successful payment, even if the entry has expired. Return the entry, if any.

    Does not activate it if the money is contested, refunded or due for refund. If the player has another active entry,
    the payment becomes due for refund. The caller has locked the payment.
    """
    # True if an operator has recorded that the provider took the money back.
    is_gone = payment.collected_at is not None and not payment.place
    if payment.refund_due or payment.refunded_at or payment.contested or is_gone:
        return Entry.objects.filter(payment=payment).first()
    player = locked_player(payment.phone)
    entries = _OF_PAYER(payment=payment.pk, player=player.pk)
    entry = next((entry for entry in entries if entry.payment_id == payment.pk), None)
    if entry is None or entry.opened_at is not None:
        return entry
    entry.player = player
    if any(other.status == Entry.Status.OPEN for other in end_expired(entries)):
        services.held(payment)
        if entry.status != Entry.Status.EXPIRED:
            end([entry], "refund_due")
    else:
        activate(entry, payment, paid_now=True)
    return entry


def activate(entry: Entry, payment: Payment, *, paid_now: bool = False) -> None:
    """Activate the entry and match it with a waiting opponent, if there is one.

    The caller has locked the payment and the player. `paid_now`: True if one message shall report payment and match.
    """
    admit_invite(entry)
    if entry.match_code:
        _start(entry)
        services.activated(payment)
        journal.raise_if_timed_out(
            private_match_created.send_robust(Entry, entry=entry, invite_phone=entry.invite_phone)
        )
        return
    lock_level(entry.stake_amount)
    opponent = _opponent(entry)
    if opponent is None:
        _start(entry)
        services.activated(payment)
    else:
        _match(opponent, entry, payment, paid_now=paid_now)


def _start(entry: Entry) -> None:
    entry.start_life(clock.now())
    update(entry, ["status", "reason", "opened_at", "expires_at", "ended_at", "invite_phone", "invite_refused"])


def _opponent(entry: Entry) -> Entry | None:
    """Lock and return the opponent: the friend who gave the code, otherwise the longest-waiting entry, or None."""
    waiting = {"amount": entry.stake_amount, "player": entry.player_id, "now": clock.now()}
    if entry.joins_code:
        friend = _FRIEND.first(**waiting, code=entry.joins_code)
        if friend is not None:
            return friend
    return _LONGEST_WAITING.first(**waiting)


def _match(first: Entry, second: Entry, payment: Payment, *, paid_now: bool) -> None:
    """Match two entries. `first` was already waiting. `payment`: the payment of `second`, the entry activated now."""
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
    second.start_life(now)
    for entry in (first, second):
        entry.status, entry.session = Entry.Status.MATCHED, session
    _MATCH(first=first.pk, second=second.pk, session=session.pk, now=now, until=now + stake_life())
    services.activated(payment)
    for paid in (first.payment, payment):
        journal.matched(paid, keys.matched(session.pk))
    told = second if paid_now else None
    journal.raise_if_timed_out(
        session_committed.send_robust(Session, session=session, entries=(first, second), told_by_payment=told)
    )


def left_inactive(within: timedelta | None = None) -> list[Payment]:
    """Return up to 500 payments whose money is in use, but whose entry was never activated.

    `within`: skip payments collected longer ago than this.
    """
    payments = Payment.objects.all()
    if within is not None:
        payments = payments.filter(collected_at__gt=clock.now() - within)
    return list(payments.filter(place="in_use", entry__isnull=False, entry__opened_at=None)[:_AT_ONCE])
