"""What a text of ours is about, by its reference: where an operator finds it, and whether it is still worth sending."""

from collections.abc import Collection

from django.urls import reverse

from game import clock
from game.models import Entry, Session
from payments.models import Payment
from sms.models import SmsMessage
from sms.owners import Link, Referenced


def _number(message: Referenced) -> int:
    """The id in `session:12:34`, `payment:12:success`, `invite:12`, `link:12:1`; 0 where there is none."""
    parts = (message.dedupe_key or "").split(":")
    return int(parts[1]) if len(parts) > 1 and parts[1].isascii() and parts[1].isdigit() and len(parts[1]) < 19 else 0


def _link(model: str, label: str, number: int) -> Link:
    app = Payment._meta.app_label if model == "payment" else Entry._meta.app_label
    return Link(f"{label} {number}", reverse(f"admin:{app}_{model}_change", args=[number]))


def of_session(message: SmsMessage) -> list[Link]:
    return [_link("session", "match", number)] if (number := _number(message)) else []


def of_payment(message: SmsMessage) -> list[Link]:
    number = _number(message)
    entry = Entry.objects.filter(payment_id=number).first()
    found = [_link("payment", "payment", number)] if number else []
    if entry is not None:
        found.append(_link("entry", "stake", entry.pk))
        if entry.session_id:
            found.append(_link("session", "match", entry.session_id))
    return found


def of_invite(message: SmsMessage) -> list[Link]:
    return _of_entry(message, "private match")


def of_link(message: SmsMessage) -> list[Link]:
    return _of_entry(message, "stake")


def _of_entry(message: SmsMessage, label: str) -> list[Link]:
    entry = Entry.objects.filter(pk=_number(message)).first()
    if entry is None:
        return []
    found = [_link("entry", label, entry.pk)]
    if entry.session_id:
        found.append(_link("session", "match", entry.session_id))
    return found


def invites_worth_sending(messages: Collection[Referenced]) -> set[int]:
    """Of invites those whose match can still be joined."""
    joinable = Entry.objects.filter(status=Entry.Status.OPEN, expires_at__gt=clock.now())
    return _whose(messages, set(joinable.filter(pk__in=map(_number, messages)).values_list("pk", flat=True)))


def matches_worth_sending(messages: Collection[Referenced]) -> set[int]:
    """Of links to matches those that can still be played."""
    active = Session.objects.filter(expires_at__gt=clock.now())
    return _whose(messages, set(active.filter(pk__in=map(_number, messages)).values_list("pk", flat=True)))


def _whose(messages: Collection[Referenced], numbers: set[int]) -> set[int]:
    return {message.pk for message in messages if _number(message) in numbers}
