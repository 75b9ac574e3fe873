"""Taking a stake: what the API and the pages call."""

from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext_noop as _

from game.models import Entry
from game.rules.codes import CODE_EXPIRED, give_code, joinable
from game.rules.ending import end_what_is_over
from game.rules.limits import (
    count_refused_stake,
    count_wrong_code,
    order_invite,
    refuse_code_guessing,
    refuse_stakes_from,
    refuse_unpaid,
    site_of,
)
from game.rules.locks import lock_level, locked_player
from game.rules.opening import has_open_entry, open_entry
from game.rules.refused import Refused
from game.rules.validation import check_amount, payable
from payments import collecting
from payments.models import Payment
from payments.phones import network_of
from payments.services import create_payment
from sms.models import SmsMessage


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


def place(stake: Stake) -> Placed:
    """Take a stake: a new entry, and with auto-approval its match. Raises Refused; then nothing is written."""
    check_amount(stake.amount)
    if stake.invite_phone and stake.invite_phone == stake.phone:
        raise Refused(400, _("You cannot invite yourself: give your friend's number."), "invite_phone")
    if collecting.is_on() and not settings.MOMO_AUTO_APPROVE and not network_of(stake.phone):
        raise Refused(400, _("We can collect from MTN and Airtel numbers only: give one of those."), "phone_number")
    # Checked before anything is read about the number: a refusal must not tell what the number has.
    friend = _friend(stake) if stake.match_code else None
    if not settings.MOMO_AUTO_APPROVE:
        refuse_stakes_from(stake.address)
    try:
        with transaction.atomic():
            entry = _place(stake, friend)
    except Refused:
        count_refused_stake(stake.address)
        raise
    # Inline delivery has run by now, after the commit, so the invite's row is read afresh.
    invite = SmsMessage.objects.filter(dedupe_key=entry.invite_key).first() if entry.invite_phone else None
    return Placed(Entry.objects.select_related("player", "session", "payment").get(pk=entry.pk), invite)


def _friend(stake: Stake) -> Entry:
    """Return the private match to join. Raise Refused if its code or stake is wrong, or after too many wrong codes."""
    refuse_code_guessing(stake.address)
    try:
        return joinable(stake.match_code, stake.amount)
    except Refused as refusal:
        if refusal.status == 404:
            count_wrong_code(stake.address)
        raise


def _place(stake: Stake, friend: Entry | None) -> Entry:
    """Write the entry and its payment. Each refusal depends on the number."""
    approved = settings.MOMO_AUTO_APPROVE
    player = locked_player(stake.phone)
    if approved:
        # What waits for its payment opens, and is met, under this lock when that comes: until then it is nobody's turn.
        lock_level(stake.amount)
    end_what_is_over(player)
    if has_open_entry(player):
        raise Refused(
            409, _("You have an open stake already: wait for your opponent, or until it expires."), "phone_number"
        )
    if friend is not None and friend.player_id == player.pk:
        raise Refused(409, _("You cannot join your own match."), "match_code")
    if not approved:
        _refuse_ringing(stake.phone)
        refuse_unpaid(player)
    Entry.objects.filter(player=player, status=Entry.Status.AWAITING_PAYMENT).update(
        status=Entry.Status.EXPIRED, reason="replaced"
    )
    entry = Entry(
        player=player,
        payment=create_payment(
            stake.phone, payable(stake.amount), approved=approved, description=f"PlayMatatu stake {stake.amount}"
        ),
        stake_amount=stake.amount,
        display_name=stake.display_name,
        joins_code=stake.match_code,
        language=stake.language,
        client_address=stake.address or None,
        client_site=site_of(stake.address),
    )
    if stake.invite_phone:
        order_invite(entry, stake.invite_phone)
    if stake.create_private:
        give_code(entry)
    else:
        entry.save()
    if approved:
        open_entry(entry)
        if stake.match_code and not _met_friend(entry):
            raise Refused(409, CODE_EXPIRED, "match_code")
    return entry


def _refuse_ringing(phone: str) -> None:
    """Nobody is asked for two stakes at once, or they may pay both."""
    # First, so that an order which a worker is just claiming is waited for, and seen as ringing.
    collecting.withdraw(Payment.objects.filter(phone=phone))
    if wait := collecting.seconds_ringing(phone):
        raise Refused(
            409,
            _("Your phone is still being asked to pay your last stake: answer there, or wait %(seconds)s seconds."),
            "phone_number",
            retry_after=wait,
            seconds=wait,
        )


def _met_friend(entry: Entry) -> bool:
    """False where the friend's time ran out between the look at the code and the match."""
    return entry.session is not None and entry.session.entries.filter(match_code=entry.joins_code).exists()
