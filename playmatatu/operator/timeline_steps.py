"""What happened to one player, step by step: what each app's rows say, in plain words."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from game.models import Entry
from game.wording import state_words
from payments.models import Callback, Exchange, Payment, Refund
from sms import timeline
from sms.models import SmsMessage
from sms.text import mask_phone, redact


class Link(NamedTuple):
    label: str
    url: str


class Step(NamedTuple):
    """`tone`: good, bad or plain; `answer`: another's words, redacted."""

    at: datetime
    tone: str
    title: str
    meaning: str = ""
    link: Link | None = None
    answer: str = ""


def ugx(amount: int) -> str:
    return f"{amount:,} UGX"


def change_link(row: object, label: str) -> Link:
    meta = row._meta  # type: ignore[attr-defined]
    return Link(label, reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[row.pk]))  # type: ignore[attr-defined]


def of_entry(entry: Entry) -> Iterator[Step]:
    link = change_link(entry, f"stake {entry.pk}")
    yield Step(entry.created_at, "plain", f"Staked {ugx(entry.stake_amount)}", _how(entry), link)
    if entry.opened_at:
        until = f"It may be matched until {timezone.localtime(entry.expires_at):%H:%M}." if entry.expires_at else ""
        yield Step(entry.opened_at, "good", "The stake is open", f"Paid. {until}".strip(), link)
    session, opponent = entry.session, entry.opponent
    if session is not None:
        whom = Link("the other player", f"{reverse('admin:find')}?player={opponent.player_id}") if opponent else None
        words = f"Against {mask_phone(opponent.phone)}, for {ugx(session.prize_amount)}." if opponent else ""
        yield Step(session.created_at, "good", f"Matched: match {session.pk}", words, whom)
    ends = session.expires_at if session is not None else entry.expires_at
    if entry.state == Entry.Status.EXPIRED:
        tone = "plain" if session is not None else "bad"
        yield Step(ends or entry.created_at, tone, f"Stake {entry.pk}: {state_words(entry)}", "", link)


def _how(entry: Entry) -> str:
    if entry.joins_code:
        return f"To join the private match {entry.joins_code}."
    if not entry.match_code:
        return "Against anyone."
    invited = f", {mask_phone(entry.invite_phone)} invited" if entry.invite_phone else ""
    refused = f"; no invite left: {entry.invite_refused}" if entry.invite_refused else ""
    return f"A private match, code {entry.match_code}{invited}{refused}."


def of_payment(payment: Payment) -> Iterator[Step]:
    link = change_link(payment, f"payment {payment.pk}")
    if payment.asked_at:
        network = f" ({payment.network})" if payment.network else ""
        yield Step(payment.asked_at, "plain", f"The phone was asked for {ugx(payment.amount)}{network}", "", link)
    for exchange in payment.exchanges.all():
        yield _exchange(exchange, link)
    for callback in payment.callbacks.all():
        yield _callback(callback, link)
    if payment.settled_at:
        by = f"Settled by: {payment.settled_by}." if payment.settled_by else ""
        said = f"The provider says: {payment.reason}" if payment.reason else by
        if payment.status == Payment.Status.SUCCESS:
            yield Step(payment.settled_at, "good", f"Paid {ugx(payment.amount)}", by, link)
        else:
            yield Step(payment.settled_at, "bad", f"Not paid: {ugx(payment.amount)}", said, link)
    if payment.contested_at:
        yield Step(payment.contested_at, "bad", "The provider contradicted itself", "An operator has to judge.", link)
    for refund in payment.refunds.all():
        yield from _refund(refund, link)


def _exchange(exchange: Exchange, link: Link) -> Step:
    title = f"DMarkPay {exchange.get_step_display()}: {exchange.outcome}".replace("DMarkPay asked", "We asked DMarkPay")
    tone = "bad" if exchange.http_status is None or exchange.http_status >= 400 else "plain"
    return Step(exchange.at, tone, title, redact(exchange.words), link, redact(exchange.answer))


def _callback(callback: Callback, link: Link) -> Step:
    title = f"{callback.get_source_display()[:1].upper()}{callback.get_source_display()[1:]}: {callback.status or '?'}"
    if callback.refusal:
        return Step(callback.received_at, "bad", f"{title}, refused", callback.refusal, link)
    meaning = "It settled the payment." if callback.applied else "A repeat, or only news: it settled nothing."
    return Step(callback.received_at, "plain", title, meaning, link)


def _refund(refund: Refund, link: Link) -> Iterator[Step]:
    how = "by payout" if refund.how == Refund.How.PAYOUT else "by hand"
    yield Step(
        refund.ordered_at, "plain", f"Refund of {ugx(refund.amount)} {how}, by {refund.actor}", refund.note, link
    )
    if refund.ended_at:
        good = refund.state == Refund.State.SUCCEEDED
        title = f"Refund of {ugx(refund.amount)}: {refund.get_state_display()}"
        yield Step(refund.ended_at, "good" if good else "bad", title, refund.reason, link)


def of_text(message: SmsMessage) -> Iterator[Step]:
    link = change_link(message, f"text {message.pk}")
    kind = message.kind or "plain text"
    for line in timeline.lines(message):
        yield Step(line.at, line.tone, f"{kind}: {line.title}", line.meaning, link, line.answer)


def of_acts(acts: Sequence[LogEntry]) -> Iterator[Step]:
    for act in acts:
        url = act.get_admin_url()
        link = Link(f"{act.content_type.name} {act.object_id}", url) if url and act.content_type else None
        yield Step(act.action_time, "plain", f"By {act.user.get_username()}", redact(act.get_change_message()), link)
