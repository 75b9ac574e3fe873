"""Find the stake, match or payment of a message by its dedupe key, and check if the message is worth sending."""

from collections.abc import Collection

from django.db.models import Q
from django.urls import reverse

from game import keys
from game.models import Entry, Session
from payments.models import Payment
from sms import clock
from sms.models import SmsMessage
from sms.owners import Link, Referenced


def _number(message: Referenced) -> int:
    return keys.id_in(message.dedupe_key)


def _link(model: str, label: str, number: int) -> Link:
    return Link(f"{label} {number}", reverse(f"admin:{model}_change", args=[number]))


def of_session(message: SmsMessage) -> list[Link]:
    return [_link("game_session", "match", number)] if (number := _number(message)) else []


def of_payment(message: SmsMessage) -> list[Link]:
    number = _number(message)
    entry = Entry.objects.filter(payment_id=number).first()
    found = [_link("payments_payment", "payment", number)] if number else []
    if entry is not None:
        found.append(_link("game_entry", "stake", entry.pk))
        if entry.session_id:
            found.append(_link("game_session", "match", entry.session_id))
    return found


def of_invite(message: SmsMessage) -> list[Link]:
    return _of_entry(message, "private match")


def of_link(message: SmsMessage) -> list[Link]:
    return _of_entry(message, "stake")


def _of_entry(message: SmsMessage, label: str) -> list[Link]:
    entry = Entry.objects.filter(pk=_number(message)).first()
    if entry is None:
        return []
    found = [_link("game_entry", label, entry.pk)]
    if entry.session_id:
        found.append(_link("game_session", "match", entry.session_id))
    return found


def invites_worth_sending(messages: Collection[Referenced]) -> set[int]:
    """Return the ids of the invite messages whose match can still be joined."""
    joinable = Entry.objects.filter(status=Entry.Status.OPEN, expires_at__gt=clock.now())
    return _about(messages, set(joinable.filter(pk__in=map(_number, messages)).values_list("pk", flat=True)))


def matches_worth_sending(messages: Collection[Referenced]) -> set[int]:
    """Return the ids of the messages whose match has not expired."""
    active = Session.objects.filter(expires_at__gt=clock.now())
    return _about(messages, set(active.filter(pk__in=map(_number, messages)).values_list("pk", flat=True)))


def payments_worth_sending(messages: Collection[Referenced]) -> set[int]:
    """Return the ids of the payment messages that should still be sent.

    A `payment_success` message is useless after the stake or its match has ended.
    """
    successes = [message for message in messages if _is(message, "success")]
    others = {message.pk for message in messages} - {message.pk for message in successes}
    if not successes:
        return others
    now = clock.now()
    live = Q(status=Entry.Status.OPEN, expires_at__gt=now) | Q(session__expires_at__gt=now)
    entries = Entry.objects.filter(live, payment__in=map(_number, successes))
    return others | _about(successes, set(entries.values_list("payment", flat=True)))


def payments_worth_resending(messages: Collection[SmsMessage]) -> set[int]:
    """Return the ids of the payment messages that an operator may send again.

    Messages whose text is no longer true are left out, for example "searching for an opponent" after a match.
    """
    searching = [message for message in messages if _is(message, "success") and not message.holds_link]
    matched = Entry.objects.filter(payment__in=map(_number, searching), session__isnull=False)
    promised = [message for message in messages if _is(message, "refund_due", "held")]
    refunded = Payment.objects.filter(pk__in=map(_number, promised), refunded_at__isnull=False)
    over = _about(searching, set(matched.values_list("payment", flat=True)))
    over |= _about(promised, set(refunded.values_list("pk", flat=True)))
    return payments_worth_sending(messages) - over


def _is(message: Referenced, *subjects: str) -> bool:
    return keys.subject_in(message.dedupe_key) in subjects


def _about(messages: Collection[Referenced], numbers: set[int]) -> set[int]:
    return {message.pk for message in messages if _number(message) in numbers}
