"""Staking: what the API and the pages call."""

import logging
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from game.models import Entry, Player
from game.rules import limits
from game.rules.matching import (
    CODE_EXPIRED,
    end_what_is_over,
    give_code,
    has_open_entry,
    joinable,
    lock_level,
    locked_player,
    open_entry,
)
from game.rules.refused import Refused
from payments.models import Payment
from payments.services import create_payment
from sms.models import SmsMessage

logger = logging.getLogger("game.stakes")

# A stake that nobody paid for so long is given up. A payment that comes still later reopens it.
UNPAID_LIFE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Stake:
    """A checked order: phones in E.164, whole UGX. `language`: of the page it was placed on."""

    phone: str
    amount: int
    display_name: str = ""
    create_private: bool = False
    invite_phone: str = ""
    match_code: str = ""
    address: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of a stake."""

    entry: Entry
    invite: SmsMessage | None = None


def check_amount(amount: int) -> None:
    """Raises Refused unless the stake is within the bounds."""
    if not settings.MIN_STAKE_AMOUNT <= amount <= settings.MAX_STAKE_AMOUNT:
        raise Refused(
            400,
            _("The stake must be from %(least)s to %(most)s UGX."),
            "stake_amount",
            least=settings.MIN_STAKE_AMOUNT,
            most=settings.MAX_STAKE_AMOUNT,
        )


def place(stake: Stake) -> Placed:
    """Take a stake: a new entry, and with auto-approval its match. Raises Refused; then nothing is written."""
    check_amount(stake.amount)
    if stake.invite_phone and stake.invite_phone == stake.phone:
        raise Refused(400, _("You cannot invite yourself: give your friend's number."), "invite_phone")
    if stake.match_code:
        limits.refuse_code_guessing(stake.address)
    try:
        with transaction.atomic():
            entry = _place(stake)
    except Refused as refusal:
        if stake.match_code and refusal.status == 404:
            limits.count_wrong_code(stake.address)
        raise
    # Inline delivery has run by now, after the commit, so the invite's row is read afresh.
    invite = SmsMessage.objects.filter(dedupe_key=entry.invite_key).first() if entry.invite_phone else None
    return Placed(Entry.objects.select_related("player", "session", "payment").get(pk=entry.pk), invite)


def _place(stake: Stake) -> Entry:
    player = locked_player(stake.phone)
    lock_level(stake.amount)
    end_what_is_over(player)
    if has_open_entry(player):
        raise Refused(
            409, _("You have an open stake already: wait for your opponent, or until it expires."), "phone_number"
        )
    if stake.match_code:
        joinable(stake.match_code, player, stake.amount)
    Entry.objects.filter(player=player, status=Entry.Status.AWAITING_PAYMENT).update(
        status=Entry.Status.EXPIRED, reason="replaced"
    )
    approved = settings.MOMO_AUTO_APPROVE
    entry = Entry(
        player=player,
        payment=create_payment(stake.phone, stake.amount, approved=approved),
        stake_amount=stake.amount,
        display_name=stake.display_name,
        joins_code=stake.match_code,
        language=stake.language,
    )
    if stake.invite_phone:
        _set_invite(entry, player, stake)
    if stake.create_private:
        give_code(entry)
    else:
        entry.save()
    if approved:
        open_entry(entry)
        if stake.match_code and not _met_friend(entry):
            raise Refused(409, CODE_EXPIRED, "match_code")
    return entry


def _met_friend(entry: Entry) -> bool:
    """False where the friend's time ran out between the look at the code and the match."""
    return entry.session is not None and entry.session.entries.filter(match_code=entry.joins_code).exists()


def _set_invite(entry: Entry, player: Player, stake: Stake) -> None:
    entry.invite_refused = limits.invite_refusal(player, stake.invite_phone, stake.address or None)
    if not entry.invite_refused:
        entry.invite_phone, entry.client_address = stake.invite_phone, stake.address or None


def open_paid(payment: Payment) -> Entry | None:
    """Open the entry of a payment that has succeeded; an expired one again. Returns the entry, if there is one.

    Where the player has another entry open it cannot be: then the payment is marked for a refund. The caller
    holds the payment's lock and a transaction.
    """
    entry = Entry.objects.select_related("player").filter(payment=payment).first()
    if entry is None or payment.refund_due or payment.refunded_at:
        return entry
    locked_player(entry.player.phone)
    lock_level(entry.stake_amount)
    entry.refresh_from_db(fields=["status", "reason", "opened_at", "session", "expires_at"])
    if entry.opened_at is not None:
        return entry  # it had its time
    end_what_is_over(entry.player)
    if has_open_entry(entry.player):
        Payment.objects.filter(pk=payment.pk).update(refund_due=True)
        payment.refund_due = True
        if entry.status != Entry.Status.EXPIRED:
            entry.status, entry.reason = Entry.Status.EXPIRED, "refund_due"
            entry.save(update_fields=["status", "reason"])
        return entry
    open_entry(entry, paid_now=True)
    return entry


def give_up(entry: Entry, reason: str) -> None:
    """End an entry that is not paid."""
    Entry.objects.filter(pk=entry.pk, status=Entry.Status.AWAITING_PAYMENT).update(
        status=Entry.Status.EXPIRED, reason=reason
    )


def leave(entry: Entry) -> bool:
    """Take an entry out of the queue before it is matched. False: it was too late for that."""
    with transaction.atomic():
        Payment.objects.select_for_update().get(pk=entry.payment_id)
        locked_player(entry.player.phone)
        lock_level(entry.stake_amount)
        left = Entry.objects.filter(pk=entry.pk, status__in=(Entry.Status.OPEN, Entry.Status.AWAITING_PAYMENT)).update(
            status=Entry.Status.EXPIRED, reason="left"
        )
        _mark_refunds(Payment.objects.filter(pk=entry.payment_id))
    return bool(left)


def _mark_refunds(payments: "QuerySet[Payment]") -> None:
    """Money that was collected for an entry which ended without a match is the operator's to give back."""
    unplayed = Entry.objects.filter(
        status=Entry.Status.EXPIRED, opened_at__isnull=False, session=None, payment__callbacks__applied=True
    )
    payments.filter(entry__in=unplayed, status=Payment.Status.SUCCESS, refund_due=False, refunded_at=None).update(
        refund_due=True
    )


def expire_old() -> int:
    """Write down what is past its time. Returns how many."""
    now = timezone.now()
    timed_out = Entry.objects.filter(status=Entry.Status.OPEN, expires_at__lte=now)
    unpaid = Entry.objects.filter(
        status=Entry.Status.AWAITING_PAYMENT,
        created_at__lte=now - UNPAID_LIFE,
        payment__status=Payment.Status.PENDING,
    )
    ended = _end(timed_out, "timed_out") + _end(unpaid, "not_paid")
    # Payments are locked first everywhere, so this waits until the entries' locks are gone.
    _mark_refunds(Payment.objects.all())
    return ended


def _end(entries: "QuerySet[Entry]", reason: str) -> int:
    """Whoever holds one of these rows may hold another that we want; what is busy waits for the next time."""
    with transaction.atomic():
        rows = entries.select_for_update(
            of=("self",), skip_locked=connection.features.has_select_for_update_skip_locked
        )
        keys = [entry.pk for entry in rows.only("pk")]
        return Entry.objects.filter(pk__in=keys).update(status=Entry.Status.EXPIRED, reason=reason)


def left_unopened() -> list[Payment]:
    """Paid entries that a crash or a failing receiver left unopened."""
    return list(
        Payment.objects.filter(
            status=Payment.Status.SUCCESS, refund_due=False, refunded_at=None, entry__opened_at=None
        ).exclude(entry=None)
    )
