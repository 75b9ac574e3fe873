"""All SMS of the game, and the signal receivers that queue them.

Each receiver uses its own savepoint, so that an error reverts only this receiver's changes.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Q
from django.dispatch import receiver
from django.template.loader import render_to_string
from django.utils.translation import override

from game import keys
from game.models import Entry, Player, Session
from game.payment_use import due_back
from game.rules.codes import LENGTH
from game.rules.limits import WINDOW
from game.rules.matching import TOKEN_LENGTH
from game.rules.validation import payable, prize
from game.signals import private_match_created, refund_became_due, session_committed
from game.tokens import game_link, stake_link
from payments import journal
from payments.models import Payment, Refund
from payments.signals import momo_status_changed, momo_success_repeated, payment_contested, payment_refunded, prize_paid
from sms import clock
from sms.models import SmsMessage
from sms.outbox import NewMessage, queue_many, queue_sms
from sms.owners import Sample
from sms.text import count_segments

logger = logging.getLogger("game.notifications")

_LOOK_BACK = 10
# Kinds of messages that are sent even to players who replied STOP, because they concern the player's own money or
# match.
TRANSACTIONAL = (
    "payment_success",
    "payment_failed",
    "payment_held",
    "refund_due",
    "refunded",
    "prize_paid",
    "match_found",
    "own_link",
)


def render(kind: str, language: str = "", **values: object) -> str:
    """Return the text of a message, rendered from the template `game/sms/<kind>.txt`.

    `language`: the recipient's language, by default LANGUAGE_CODE. The active language is not used, because it can be
    another player's.
    """
    contact = f" {settings.SUPPORT_CONTACT}" if settings.SUPPORT_CONTACT else ""
    with override(language or settings.LANGUAGE_CODE):
        for support in (contact, ""):
            text = render_to_string(f"game/sms/{kind}.txt", {**values, "support": support}).strip()
            # The support contact is left out if it would make the text longer than one SMS.
            if not support or count_segments(text).count == 1:
                break
    return text


@receiver(private_match_created)
def text_invite(sender: Any, entry: Entry, invite_phone: str, **kwargs: Any) -> None:
    if invite_phone:
        with transaction.atomic():
            _queue(_invite(entry, invite_phone))


@receiver(session_committed)
def text_match(
    sender: Any, session: Session, entries: Sequence[Entry] = (), told_by_payment: Entry | None = None, **kwargs: Any
) -> None:
    """Queue a message with the match link for each player of a new match.

    `told_by_payment`: the entry whose player gets `payment_success` instead of `match_found`.
    """
    messages, failed = [], False
    for entry in entries or list(session.entries.select_related("player", "session", "payment").order_by("pk")):
        try:
            messages.append(_success(entry.payment, entry) if entry == told_by_payment else _match_found(entry))
        # An error in one player's message must not prevent the other player's message.
        except Exception:
            logger.exception(
                "game.text_not_queued: the message about the match could not be queued for entry %s", entry.pk
            )
            failed = True
    with transaction.atomic():
        queue_many(messages)
    # If `told_with_match` is False, the receiver `text_payment` queues the missing messages later.
    if told_by_payment is not None and not failed:
        told_by_payment.told_with_match = True


@receiver(momo_status_changed)
def text_payment(sender: Any, payment: Payment, **kwargs: Any) -> None:
    if Payment.entry.is_cached(payment) and payment.entry.told_with_match:
        return
    with transaction.atomic():
        if payment.status == Payment.Status.SUCCESS:
            _text_success(payment)
        elif payment.status == Payment.Status.FAILED:
            _text_failure(payment)


@receiver(momo_success_repeated)
def text_payment_again(sender: Any, payment: Payment, **kwargs: Any) -> None:
    """Queue the messages about a payment, its match or its refund, if they are missing and still apply."""
    with transaction.atomic():
        entry = _entry(payment)
        if entry is not None and entry.session_id and payment.refund_due:
            text_refund_due(sender, entry)
            return
        if payment.refunded_at is not None:
            return
        if entry is not None and (entry.refund_told or (entry.opened_at is not None and not entry.is_live)):
            return
        if not SmsMessage.objects.filter(dedupe_key=keys.payment(payment.pk, "success")).exists():
            _text_success(payment)
        elif entry is not None:
            _text_opponent(entry)


@receiver(payment_contested)
def text_contested(sender: Any, payment: Payment, said: str, **kwargs: Any) -> None:
    """Queue the message `payment_held` if the provider reports the money of a failed payment as received."""
    if said == Payment.Status.SUCCESS:
        with transaction.atomic():
            _queue(_about(payment, "payment_held", _entry(payment), subject="held"))


@receiver(payment_refunded)
def text_refunded(sender: Any, payment: Payment, refund: Refund, **kwargs: Any) -> None:
    with transaction.atomic():
        _queue(_about(payment, "refunded", _entry(payment), subject=_payout_subject("refunded", refund)))


@receiver(prize_paid)
def text_prize_paid(sender: Any, payment: Payment, refund: Refund, **kwargs: Any) -> None:
    """Queue the message that tells the winner about the paid prize."""
    with transaction.atomic():
        entry = _entry(payment)
        text = render("prize_paid", entry.language if entry else "", amount=str(refund.amount))
        key = keys.payment(payment.pk, _payout_subject("prize_paid", refund))
        _queue(NewMessage(payment.phone, text, "prize_paid", key))


def _payout_subject(kind: str, refund: Refund) -> str:
    """Return the last part of the dedupe key of the message about a payout. It differs after a returned payout."""
    earlier = Refund.objects.filter(payment=refund.payment_id, kind=refund.kind, pk__lt=refund.pk)
    returned = earlier.filter(state=Refund.State.RETURNED).count()
    return f"{kind}_{returned + 1}" if returned else kind


@receiver(refund_became_due)
def text_refund_due(sender: Any, entry: Entry, **kwargs: Any) -> None:
    with transaction.atomic():
        played = {"played": True} if entry.session_id else {}
        _queue(_about(entry.payment, "refund_due", entry, played, subject="refund_due"))


def text_activated(payment: Payment) -> None:
    """Queue the payer's message after a periodic task has called `activate_paid` for the payment.

    A DatabaseError rolls the activation back. After any other error, the message is queued later.
    """
    try:
        with transaction.atomic():
            _text_success(payment)
    except DatabaseError:
        raise
    except Exception:
        logger.exception("game.text_not_queued: the message about payment %s could not be queued", payment.pk)
        journal.note_signal(payment, failed=True)


def text_own_link(phone: str) -> None:
    """Queue a message with the link to this phone number's stake, at most LINKS_PER_PHONE_HOUR times an hour."""
    with transaction.atomic():
        player = Player.objects.select_for_update().filter(phone=phone).first()
        entry = _entry_to_find(phone) if player is not None else None
        if entry is None:
            return
        recent = SmsMessage.objects.filter(phone=phone, kind="own_link", created_at__gt=clock.now() - WINDOW)
        if recent.count() >= settings.LINKS_PER_PHONE_HOUR:
            return
        asked = SmsMessage.objects.filter(dedupe_key__startswith=keys.own_link(entry.pk, "")).count()
        queue_sms(
            phone,
            render("own_link", entry.language, link=stake_link(entry)),
            kind="own_link",
            dedupe_key=keys.own_link(entry.pk, asked + 1),
            expires_at=_ends(entry) if entry.is_live else None,
        )


def _entry_to_find(phone: str) -> Entry | None:
    """Return the live entry of a phone number. Otherwise return a recent entry with money due for refund, or None."""
    newest = Entry.objects.filter(player__phone=phone).select_related("player", "session", "payment").order_by("-pk")
    for entry in newest.exclude(status=Entry.Status.EXPIRED)[:2]:
        if entry.is_live:
            return entry
    return next((entry for entry in newest[:_LOOK_BACK] if due_back(entry)), None)


def _ends(entry: Entry) -> datetime | None:
    return entry.session.expires_at if entry.session is not None else entry.expires_at


def _entry(payment: Payment) -> Entry | None:
    # If a receiver has just activated the entry, `payment.entry` is already loaded and no query is needed.
    if Payment.entry.is_cached(payment):
        return payment.entry
    return Entry.objects.select_related("player", "session").filter(payment=payment).first()


def _match_found(entry: Entry) -> NewMessage:
    return NewMessage(
        entry.phone,
        render("match_found", entry.language, link=game_link(entry)),
        "match_found",
        entry.link_keys[0],
        _ends(entry),
    )


def _invite(entry: Entry, phone: str) -> NewMessage:
    left = (entry.expires_at - clock.now()).total_seconds() if entry.expires_at else 0
    text = render(
        "private_invite",
        code=entry.match_code,
        stake=str(entry.stake_amount),
        ttl=str(max(1, ceil(left / 60 - 0.01))),
        frontend_url=settings.FRONTEND_URL.rstrip("/"),
    )
    return NewMessage(phone, text, "private_invite", entry.invite_key, entry.expires_at)


def _text_success(payment: Payment) -> None:
    entry = _entry(payment)
    if payment.refund_due:
        _queue(_about(payment, "payment_held", entry))
    elif entry is None or entry.opened_at is not None:
        messages = [_success(payment, entry)]
        if entry is not None and entry.invite_phone and entry.session_id is None:
            # If `text_invite` has already queued the invite, the dedupe key prevents a second one.
            messages.append(_invite(entry, entry.invite_phone))
        queue_many(messages)
        if entry is not None:
            _text_opponent(entry)
    # For an inactive entry, nothing is queued here. The periodic task that activates it also queues `payment_success`.


def _text_opponent(entry: Entry) -> None:
    """Queue the `match_found` message to the opponent, unless a message with the opponent's link was queued before."""
    for other in Entry.objects.filter(session=entry.session_id).exclude(pk=entry.pk) if entry.session_id else ():
        found, paid = other.link_keys
        with_link = Q(dedupe_key=found) | Q(dedupe_key=paid, holds_link=True)
        if not SmsMessage.objects.filter(with_link).exists():
            _queue(_match_found(other))


def _success(payment: Payment, entry: Entry | None) -> NewMessage:
    values: dict[str, object] = {}
    if entry is not None and entry.session is not None:
        values["link"] = game_link(entry)
    elif entry is not None and entry.match_code:
        values["code"] = entry.match_code
    return _about(payment, "payment_success", entry, values, expires_at=_ends(entry) if entry else None)


def _text_failure(payment: Payment) -> None:
    """Queue the `payment_failed` message, at most FAILED_TEXTS_PER_PHONE_DAY times a day per phone number.

    The limit protects people whose number a stranger enters. The caller has locked the player.
    """
    today = SmsMessage.objects.filter(
        phone=payment.phone, kind="payment_failed", created_at__gt=clock.now() - timedelta(days=1)
    )
    if today.count() >= settings.FAILED_TEXTS_PER_PHONE_DAY:
        logger.info(
            "game.enough_failed_texts: payment %s failed; its phone has reached the day's limit of such messages",
            payment.pk,
        )
    else:
        _queue(_about(payment, "payment_failed", _entry(payment)))


def _about(
    payment: Payment,
    kind: str,
    entry: Entry | None,
    values: Mapping[str, object] | None = None,
    *,
    subject: str = "",
    expires_at: datetime | None = None,
) -> NewMessage:
    """Build a message to the payer about a payment.

    `subject`: the last part of the dedupe key, by default the payment's status.
    """
    return NewMessage(
        payment.phone,
        render(kind, entry.language if entry else "", amount=str(payment.amount), **(values or {})),
        kind,
        keys.payment(payment.pk, subject or payment.status.lower()),
        expires_at,
    )


def _queue(message: NewMessage) -> None:
    queue_many([message])


# The largest id that the sample messages use.
_LARGEST_ID = 999_999_999


def longest_values() -> list[tuple[str, dict[str, str]]]:
    """Return (kind, values) pairs. The values make a message of this kind as long as possible."""
    entry = Entry(pk=_LARGEST_ID, player_id=_LARGEST_ID)
    own_link = stake_link(entry)
    entry.session = Session(token="x" * TOKEN_LENGTH)
    link, code = game_link(entry), "W" * LENGTH
    amount = str(payable(settings.MAX_STAKE_AMOUNT))
    invite = {
        "code": code,
        "stake": str(settings.MAX_STAKE_AMOUNT),
        "ttl": f"{settings.QUEUE_EXPIRY_MINUTES:.0f}",
        "frontend_url": settings.FRONTEND_URL.rstrip("/"),
    }
    return [
        ("private_invite", invite),
        ("match_found", {"link": link}),
        ("own_link", {"link": own_link}),
        ("payment_success", {"amount": amount}),
        ("payment_success", {"amount": amount, "code": code}),
        ("payment_success", {"amount": amount, "link": link}),
        ("payment_failed", {"amount": amount}),
        ("payment_held", {"amount": amount}),
        ("refund_due", {"amount": amount}),
        ("refund_due", {"amount": amount, "played": "yes"}),
        ("refunded", {"amount": amount}),
        ("prize_paid", {"amount": str(prize(settings.MAX_STAKE_AMOUNT))}),
    ]


def samples() -> Iterator[Sample]:
    """Yield the longest message of each kind in each language. A system check counts their SMS segments."""
    for language, _ in settings.LANGUAGES:
        for kind, values in longest_values():
            yield Sample(kind, language, render(kind, language, **values))
