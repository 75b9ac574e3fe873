"""Accept stakes, for the API and the pages. An entry is activated when its payment succeeds (see `matching`)."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Q
from django.utils.translation import gettext_noop as _

from game.models import Entry, Player
from game.rules.codes import CODE_EXPIRED, give_code, joinable
from game.rules.ending import end, end_expired
from game.rules.limits import WINDOW, count_refused_stake, order_invite, refuse_stakes_from, refuse_unpaid, site_of
from game.rules.locks import new_or_locked_player
from game.rules.matching import activate
from game.rules.validation import Refused, check_amount, payable
from payments import collection, journal
from payments.services import create_payment
from payments.statements import Select, insert, new
from sms import clock, networks
from sms.models import SmsMessage

_UNFINISHED = Q(status__in=(Entry.Status.OPEN, Entry.Status.AWAITING_PAYMENT))
_KNOWN = Select(
    lambda player, since: Entry.objects.filter(
        _UNFINISHED | Q(opened_at=None, created_at__gt=since), player=player
    ).select_related("payment")
)


@dataclass(frozen=True, slots=True)
class Stake:
    """A validated stake. Phone numbers are in E.164, the amount is in whole UGX. `address`: the client's IP address."""

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
    """An accepted stake: its new entry, and the message that invites a friend, if it is already queued."""

    entry: Entry
    invite: SmsMessage | None = None


def place(stake: Stake) -> Placed:
    """Accept a stake and save its entry. Raise Refused if the rules do not allow the stake."""
    approved = bool(settings.MOMO_AUTO_APPROVE)
    check_amount(stake.amount)
    if stake.invite_phone and stake.invite_phone == stake.phone:
        raise Refused(400, _("You cannot invite yourself. Enter your friend's number."), "invite_phone")
    served = collection.networks()
    if served and not approved and networks.network_of(stake.phone) not in served:
        sentence = _("We can only collect from these networks: %(networks)s. Enter a number of one of them.")
        raise Refused(400, sentence, "phone_number", networks=", ".join(sorted(map(networks.name, served))))
    # Check the match code before the player's own stakes. Otherwise the error could reveal that this phone number has a
    # stake.
    friend = joinable(stake.match_code, stake.amount, stake.address) if stake.match_code else None
    if not approved:
        refuse_stakes_from(stake.address)
    try:
        if not approved:
            return Placed(_unpaid(stake, friend))
        entry = _approved(stake, friend)
    except Refused:
        count_refused_stake(stake.address)
        raise
    # Read the invite message after the commit, because inline delivery may have changed its status.
    invite = SmsMessage.objects.filter(dedupe_key=entry.invite_key).first() if entry.invite_phone else None
    return Placed(Entry.objects.select_related("player", "session", "payment").get(pk=entry.pk), invite)


def _unpaid(stake: Stake, friend: Entry | None) -> Entry:
    """Save an entry that waits for its payment. The entry replaces the player's earlier unpaid entries."""
    while True:
        with journal.writing():
            # Lock the payments before the player. The query waits if a worker has locked a payment to send its request.
            locked = collection.lock_open(stake.phone) if collection.is_on() else None
            player = new_or_locked_player(stake.phone)
            known = _known(player)
            unlocked = [entry.payment for entry in known if locked is not None and entry.payment_id not in locked]
            if any(collection.is_open(payment) for payment in unlocked):
                # Another stake of the player was placed between the two locks. Start again, to lock its payment too.
                continue
            _refuse_second(player, known, friend)
            _refuse_ringing(known)
            refuse_unpaid(known)
            end([entry for entry in known if entry.status == Entry.Status.AWAITING_PAYMENT], "replaced")
            return _write(stake, player, approved=False)


@journal.writing()
def _approved(stake: Stake, friend: Entry | None) -> Entry:
    """Save an entry whose payment counts as paid (MOMO_AUTO_APPROVE), and activate the entry."""
    player = new_or_locked_player(stake.phone)
    known = _known(player)
    _refuse_second(player, known, friend)
    end([entry for entry in known if entry.status == Entry.Status.AWAITING_PAYMENT], "replaced")
    entry = _write(stake, player, approved=True)
    activate(entry, entry.payment)
    if friend is not None and (entry.session is None or not entry.session.entries.filter(pk=friend.pk).exists()):
        raise Refused(409, CODE_EXPIRED, "match_code")  # The friend has another opponent, or no longer waits.
    return entry


def _known(player: Player) -> Sequence[Entry]:
    """End the player's expired entries. Return the entries that affect a new stake, each with its payment."""
    return end_expired(_KNOWN(player=player.pk, since=clock.now() - WINDOW))


def _refuse_second(player: Player, known: Sequence[Entry], friend: Entry | None) -> None:
    """Raise Refused if the player already has an active entry or tries to join their own match."""
    if any(entry.status == Entry.Status.OPEN for entry in known):
        raise Refused(
            409, _("You already have an open stake. Wait for your opponent or until it expires."), "phone_number"
        )
    if friend is not None and friend.player_id == player.pk:
        raise Refused(409, _("You cannot join your own match."), "match_code")


def _refuse_ringing(known: Sequence[Entry]) -> None:
    """Raise Refused while the player's phone may show a payment prompt, because a second prompt could be paid too."""
    if wait := collection.seconds_ringing([entry.payment for entry in known]):
        raise Refused(
            409,
            _("Your phone is still being asked to pay your last stake. Answer there or wait %(seconds)s seconds."),
            "phone_number",
            retry_after=wait,
            seconds=wait,
        )


def _write(stake: Stake, player: Player, *, approved: bool) -> Entry:
    description = f"PlayMatatu stake {stake.amount}"
    entry = new(
        Entry,
        player=player,
        payment=create_payment(
            stake.phone,
            payable(stake.amount),
            approved=approved,
            description=description,
            fee=payable(stake.amount) - stake.amount,
            replace=False,
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
        insert([entry])
    return entry
