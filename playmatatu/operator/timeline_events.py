"""Convert database rows to events of a player's timeline, in plain words."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from game.models import Entry
from game.wording import state_words
from payments.admin.wording import EVENTS
from payments.models import Callback, Payment, PaymentEvent, Refund
from payments.refunds import AUTOMATIC
from payments.rules.states import Kind
from playmatatu.models import PlayerNote
from sms import networks, timeline
from sms.formats import masked, ugx
from sms.models import SmsInbound, SmsMessage, Status
from sms.text import redact


class Link(NamedTuple):
    label: str
    url: str


class Event(NamedTuple):
    """An event on the timeline.

    `tone`: good, bad or plain. `answer`: a provider's response, redacted. `expected`: True if the event is in the
    future.
    """

    at: datetime
    tone: str
    title: str
    meaning: str = ""
    link: Link | None = None
    answer: str = ""
    expected: bool = False


def change_link(row: object, label: str) -> Link:
    meta = row._meta  # type: ignore[attr-defined]
    return Link(label, reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[row.pk]))  # type: ignore[attr-defined]


def of_entry(entry: Entry, invite: SmsMessage | None, replaced_at: datetime | None) -> Iterator[Event]:
    """Yield the events of a stake.

    `invite`: the message to the invited friend. `replaced_at`: the time of the player's next stake.
    """
    link = change_link(entry, f"stake {entry.pk}")
    yield Event(entry.created_at, "plain", f"Staked {ugx(entry.stake_amount)}", _opponent(entry, invite), link)
    if entry.opened_at:
        until = f"Open until {timezone.localtime(entry.expires_at):%H:%M}." if entry.expires_at else ""
        yield Event(entry.opened_at, "good", "Stake opened", f"Paid. {until}".strip(), link)
    session, opponent = entry.session, entry.opponent
    if session is not None:
        other = Link("the other player", f"{reverse('admin:find')}?player={opponent.player_id}") if opponent else None
        against = f"Against {masked(opponent.phone)}, for {ugx(session.prize_amount)}." if opponent else ""
        yield Event(session.created_at, "good", f"Matched: match {session.pk}", against, other)
    if entry.state == Entry.Status.EXPIRED:
        tone = "plain" if session is not None else "bad"
        at = ended_at(entry, replaced_at)
        yield Event(at, tone, f"Stake {entry.pk}: {state_words(entry)}", "", link)


def ended_at(entry: Entry, replaced_at: datetime | None) -> datetime:
    """Return the time when the stake ended, or an estimate if an earlier release did not store the time."""
    if entry.session is not None:
        return entry.session.expires_at
    if entry.ended_at is not None:
        return entry.ended_at
    payment = entry.payment
    if entry.reason == "replaced" and replaced_at:
        return replaced_at
    if entry.reason == "payment_failed" and payment.settled_at:
        return payment.settled_at
    return entry.expires_at or payment.settled_at or entry.created_at


def _opponent(entry: Entry, invite: SmsMessage | None) -> str:
    if entry.joins_code:
        return f"To join the private match {entry.joins_code}."
    if not entry.match_code:
        return "Against any opponent."
    return f"A private match, code {entry.match_code}{_invited(entry, invite)}."


def _invited(entry: Entry, invite: SmsMessage | None) -> str:
    if not entry.invite_phone:
        return ""
    friend = masked(entry.invite_phone)
    if entry.invite_refused:
        return f"; no invite sent to {friend}: {entry.invite_refused}"
    if invite is None:
        return f"; {friend} not invited yet"
    if invite.status in (Status.SENT, Status.DELIVERED):
        return f"; {friend} invited"
    return f"; invite to {friend}: {invite.get_status_display()}"


def of_payment(payment: Payment, result: str) -> Iterator[Event]:
    """Yield the events of a payment.

    `result`: the result of the payment's match (won, lost, draw or void), or "" if there is none.
    """
    link = change_link(payment, f"payment {payment.pk}")
    if payment.asked_at:
        network = f" ({networks.name(payment.network)})" if payment.network else ""
        yield Event(payment.asked_at, "plain", f"Payment of {ugx(payment.amount)} requested{network}", "", link)
    for event in payment.events.all():
        # The stake of the loser is paid out to the winner. This payout appears only on the winner's timeline.
        if event.kind in _TONE_OF and not (result == "lost" and event.kind in _PAYOUTS):
            yield _journal(event, link, result)
    for callback in payment.callbacks.all():
        yield _callback(callback, link)
    if payment.settled_at:
        by = _SETTLED_BY.get(payment.settled_by, "")
        said = f"The provider says: {payment.reason}" if payment.reason else by
        if payment.status == Payment.Status.SUCCESS:
            yield Event(payment.settled_at, "good", f"Paid {ugx(payment.amount)}", by, link)
        else:
            yield Event(payment.settled_at, "bad", f"Not paid: {ugx(payment.amount)}", said, link)
    if payment.contested_at:
        said = "The provider reported success and then failure. Please check and decide."
        if payment.status == Payment.Status.FAILED:
            said = "The provider reported failure and then success. The money is due back."
        yield Event(payment.contested_at, "bad", "The provider contradicted itself", said, link)
    for refund in payment.refunds.all():
        yield from _refund(refund, link)


_SETTLED_BY: Mapping[str, str] = {
    "answer": "Confirmed by DMarkPay's reply to the payment request.",
    "asking": "Confirmed by checking with DMarkPay.",
    "callback": "Confirmed by a callback.",
    "operator": "Recorded by an operator.",
}


_PAYOUT_FAILURES = (Kind.PAYOUT_FAILED, Kind.PAYOUT_NOT_TAKEN, Kind.PAYOUT_AMBIGUOUS, Kind.RETURNED)
_PAYOUTS = (Kind.PAYOUT_SUCCESSFUL, *_PAYOUT_FAILURES)
# The kinds of journal entries that the timeline shows, by tone.
_TONES: Mapping[str, tuple[Kind, ...]] = {
    "good": (Kind.PAYOUT_SUCCESSFUL, Kind.WON),
    "bad": (Kind.REQUEST_AMBIGUOUS, Kind.REQUEST_NOT_TAKEN, Kind.UNRESOLVED, *_PAYOUT_FAILURES),
    "plain": (
        *(Kind.REQUEST_PENDING, Kind.WITHDRAWN, Kind.POLLED, Kind.SETTLED_PAID, Kind.SETTLED_UNPAID),
        *(Kind.CONTEST_WITH_US, Kind.CONTEST_GONE, Kind.GIVEN_BACK),
    ),
}
_TONE_OF = {kind.value: tone for tone, kinds in _TONES.items() for kind in kinds}


def _journal(event: PaymentEvent, link: Link, result: str) -> Event:
    tone, title = _TONE_OF[event.kind], EVENTS[Kind(event.kind)]
    if event.kind == Kind.WON and result:
        tone, title = "good" if result == "won" else "plain", f"Match result: {result}"
    said = f": {event.said}" if event.said else ""
    by = f" By {event.actor}." if event.actor else ""
    refused = f"Nothing changed: {event.refused}." if event.refused else ""
    return Event(
        event.at, tone, f"{title}{said}", f"{redact(event.note)}{by} {refused}".strip(), link, redact(event.answer)
    )


def _callback(callback: Callback, link: Link) -> Event:
    source = callback.get_source_display()
    title = f"{source[:1].upper()}{source[1:]}: {callback.status or 'unreadable'}"
    if callback.refusal:
        return Event(callback.received_at, "bad", f"{title}, rejected", callback.refusal, link)
    if callback.applied:
        meaning = "It changed the payment."
    elif callback.source == Callback.Source.DMARKPAY:
        meaning = "Notification only; we then checked with DMarkPay."
    else:
        meaning = "A repeat: the payment did not change."
    return Event(callback.received_at, "plain", title, meaning, link)


def _refund(refund: Refund, link: Link) -> Iterator[Event]:
    how = "by payout" if refund.how == Refund.How.PAYOUT else "recorded by hand"
    what = f"{'Prize' if refund.kind == Refund.Kind.PRIZE else 'Refund'} of {ugx(refund.amount)}"
    by = "by the system" if refund.actor == AUTOMATIC else f"by {refund.actor}"
    title = f"{what} {how}, {by}"
    yield Event(refund.ordered_at, "plain", title, refund.note, link)
    if refund.ended_at:
        good = refund.state == Refund.State.SUCCEEDED
        title = f"{what}: {refund.get_state_display()}"
        yield Event(refund.ended_at, "good" if good else "bad", title, refund.reason, link)


def of_message(message: SmsMessage, sending: timeline.Sending) -> Iterator[Event]:
    link = change_link(message, f"text {message.pk}")
    kind = message.kind or "plain text"
    for line in timeline.lines(message, sending):
        yield Event(line.at, line.tone, f"{kind}: {line.title}", line.meaning, link, line.answer, line.expected)


def of_inbound(received: Sequence[SmsInbound]) -> Iterator[Event]:
    for inbound in received:
        command = f" ({inbound.get_command_display()})" if inbound.command else ""
        yield Event(inbound.sent_at, "plain", f"The player texted us{command}", redact(inbound.text))


def of_notes(notes: Sequence[PlayerNote]) -> Iterator[Event]:
    for note in notes:
        yield Event(note.at, "plain", f"Note by {note.author}", note.text)


def of_operators(entries: Sequence[LogEntry]) -> Iterator[Event]:
    for entry in entries:
        url = entry.get_admin_url()
        link = Link(f"{entry.content_type.name} {entry.object_id}", url) if url and entry.content_type else None
        done = redact(entry.get_change_message())
        yield Event(entry.action_time, "plain", f"By {entry.user.get_username()}", done, link)
