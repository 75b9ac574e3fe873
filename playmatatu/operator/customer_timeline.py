"""One number, one story: everything of a player in the order in which it happened, and what can be done now."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, Prefetch, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from game.models import Entry, Player
from game.wording import state_words
from payments import providers, refunding, wording
from payments.models import Payment, Refund
from playmatatu.operator import timeline_steps
from playmatatu.operator.timeline_steps import Link, Step, change_link, ugx
from sms import outbox, timeline
from sms.models import SmsMessage, SmsSuppression, Status
from sms.text import mask_phone

# The newest of each; older ones are a list away.
MOST_STAKES, MOST_TEXTS, MOST_ACTS = 30, 50, 100


class Act(NamedTuple):
    """A button that leads to the page which asks before anything is done. `action`: the admin's name of it."""

    label: str
    url: str
    action: str
    pk: int


@dataclass
class StakeRow:
    """A stake and its money. `to_do`: what needs a person now, and `acts`: the buttons for it."""

    at: datetime
    amount: str
    state: str
    money: str
    to_do: str
    links: list[Link]
    acts: list[Act]


@dataclass
class TextRow:
    at: datetime
    kind: str
    status: str
    words: str
    meaning: str
    link: Link
    acts: list[Act]


@dataclass
class Story:
    """`older`: what is not shown any more, with the lists that have it."""

    phone: str
    player: Player | None
    stakes: list[StakeRow]
    texts: list[TextRow]
    steps: list[Step]
    never: SmsSuppression | None
    older: list[Link] = field(default_factory=list)

    @property
    def needs(self) -> list[StakeRow]:
        return [row for row in self.stakes if row.to_do]

    @property
    def empty(self) -> bool:
        return not (self.stakes or self.texts or self.steps or self.never)


def tell(request: HttpRequest, phone: str) -> Story:
    """Some twenty queries, however long the story. Only of what this user may see."""
    may = request.user.has_perm
    player = Player.objects.filter(phone=phone).first()
    entries = _entries(player) if may("game.view_entry") else []
    payments = _payments(phone) if may("payments.view_payment") else []
    messages = _messages(phone) if may("sms.view_smsmessage") else []
    never = SmsSuppression.objects.filter(phone=phone).first() if may("sms.view_smsmessage") else None
    told = [step for entry in entries for step in timeline_steps.of_entry(entry)]
    told += [step for payment in payments for step in timeline_steps.of_payment(payment)]
    told += [step for message in messages for step in timeline_steps.of_text(message)]
    told += timeline_steps.of_acts(_acts([*payments, *messages, *([never] if never else [])]))
    return Story(
        phone=phone if may("sms.view_full_phone") else mask_phone(phone),
        player=player,
        stakes=_stake_rows(request, entries, payments),
        texts=_text_rows(request, messages),
        steps=sorted(told, key=lambda step: step.at),
        never=never,
        older=list(_older(phone if may("sms.view_full_phone") else "", entries, messages)),
    )


def _entries(player: Player | None) -> list[Entry]:
    rows = Entry.objects.filter(player=player).select_related("player", "payment", "session").order_by("-pk")
    met = Prefetch("session__entries", Entry.objects.select_related("player"))
    return list(rows.prefetch_related(met)[:MOST_STAKES]) if player else []


def _payments(phone: str) -> list[Payment]:
    rows = Payment.objects.filter(phone=phone).order_by("-pk")
    return list(rows.prefetch_related("callbacks", "refunds", "exchanges")[:MOST_STAKES])


def _messages(phone: str) -> list[SmsMessage]:
    return list(SmsMessage.objects.filter(phone=phone).order_by("-created_at").prefetch_related("events")[:MOST_TEXTS])


def _acts(rows: list[Model]) -> list[LogEntry]:
    """What operators did to any of these."""
    which = Q(pk__in=())
    by_model: dict[type[Model], list[str]] = {}
    for row in rows:
        by_model.setdefault(type(row), []).append(str(row.pk))
    for model, keys in by_model.items():
        which |= Q(content_type=ContentType.objects.get_for_model(model), object_id__in=keys)
    return list(LogEntry.objects.filter(which).select_related("user", "content_type")[:MOST_ACTS])


def _stake_rows(request: HttpRequest, entries: list[Entry], payments: list[Payment]) -> list[StakeRow]:
    """The newest first. The money's words come from the payment as it was read with all that belongs to it."""
    by_id = {payment.pk: payment for payment in payments}
    due = set(refunding.due().filter(pk__in=by_id).values_list("pk", flat=True))
    rows = [_stake_row(request, entry, by_id.pop(entry.payment_id, None), due) for entry in entries]
    rows += [_stake_row(request, None, payment, due) for payment in by_id.values()]
    return sorted(rows, key=lambda row: row.at, reverse=True)


def _stake_row(request: HttpRequest, entry: Entry | None, payment: Payment | None, due: set[int]) -> StakeRow:
    money = to_do = ""
    acts: list[Act] = []
    links = [change_link(entry, f"stake {entry.pk}")] if entry else []
    if entry and entry.session:
        links.append(change_link(entry.session, f"match {entry.session_id}"))
    if payment:
        refund: Refund | None = next(iter(payment.refunds.all()), None)
        money = wording.meaning(payment, refund, payment.pk in due)
        to_do = wording.to_do(payment, refund, payment.pk in due)
        acts = list(_money_acts(request, payment, refund, payment.pk in due))
        links.append(change_link(payment, f"payment {payment.pk}"))
    one = entry or payment
    return StakeRow(
        at=one.created_at if one else timezone.now(),
        amount=ugx(entry.stake_amount if entry else payment.amount if payment else 0),
        state=state_words(entry) if entry else "a payment without a stake",
        money=money,
        to_do=to_do,
        links=links,
        acts=acts,
    )


def _money_acts(request: HttpRequest, payment: Payment, refund: Refund | None, due: bool) -> Iterator[Act]:
    """What can be done about the money now, by who may do it."""
    url, may = reverse("admin:payments_payment_changelist"), request.user.has_perm
    taken_back = payment.contested and payment.status == Payment.Status.SUCCESS
    begun = refund is not None and refund.state != Refund.State.FAILED
    if may("payments.refund_payment") and not begun:
        if due and providers.current() is not None:
            yield Act("Refund by payout…", url, "refund", payment.pk)
        if due or taken_back:
            yield Act("Given back by hand…", url, "mark_refunded", payment.pk)
    if may("payments.settle_payment"):
        if taken_back:
            yield Act("The money is with us…", url, "end_contest", payment.pk)
        if payment.collection in (Payment.Collection.IN_DOUBT, Payment.Collection.UNRESOLVED):
            yield Act("It was paid…", url, "settle_paid", payment.pk)
            yield Act("It was not paid…", url, "settle_unpaid", payment.pk)


def _text_rows(request: HttpRequest, messages: list[SmsMessage]) -> list[TextRow]:
    shown = SmsMessage.objects.filter(pk__in=[message.pk for message in messages])
    able = set(outbox.resendable(shown).values_list("pk", flat=True))
    return [
        TextRow(
            at=message.created_at,
            kind=message.kind or "plain",
            status=message.status,
            words=message.get_status_display(),
            meaning=message.error or timeline.MEANINGS[message.status],
            link=change_link(message, f"text {message.pk}"),
            acts=list(_text_acts(request, message, message.pk in able)),
        )
        for message in messages
    ]


def _text_acts(request: HttpRequest, message: SmsMessage, able: bool) -> Iterator[Act]:
    url = reverse("admin:sms_smsmessage_changelist")
    if able and request.user.has_perm("sms.resend_smsmessage"):
        yield Act("Send again…", url, "resend", message.pk)
    if message.status == Status.QUEUED and request.user.has_perm("sms.cancel_smsmessage"):
        yield Act("Cancel…", url, "cancel", message.pk)


def _older(phone: str, entries: list[Entry], messages: list[SmsMessage]) -> Iterator[Link]:
    if len(entries) == MOST_STAKES:
        yield Link("all stakes", f"{reverse('admin:game_entry_changelist')}?player__id__exact={entries[0].player_id}")
    if len(messages) == MOST_TEXTS and phone:
        yield Link("all texts", f"{reverse('admin:sms_smsmessage_changelist')}?phone__exact={phone}")
