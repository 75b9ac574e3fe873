"""Collect all data about one player: stakes, payments, messages, and a timeline of events."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, Prefetch, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from game.models import Entry, Player, Session
from game.wording import RESULTS, state_words
from payments import providers, refunds
from payments.admin import wording
from payments.models import MatchResult, Payment, Refund
from playmatatu.models import PlayerNote
from playmatatu.operator import timeline_events
from playmatatu.operator.timeline_events import Event, Link, change_link
from sms import conf, outbox, timeline
from sms.formats import masked, spaced, ugx
from sms.models import SmsInbound, SmsMessage, SmsSuppression, Status

# A timeline shows at most this many stakes, texts and log entries: the newest ones.
MOST_STAKES, MOST_TEXTS, MOST_LOG_ENTRIES = 30, 50, 100
# A message that is not delivered within this time probably did not arrive.
DELIVERY_TIME = timedelta(minutes=5)


class Action(NamedTuple):
    """A button that opens the confirmation page of an admin action. `url`: the admin list. `pk`: the selected row."""

    label: str
    url: str
    action: str
    pk: int


@dataclass
class StakeRow:
    """A stake and its payment, as shown on the page. `to_do`: the operator's next step. `level`: error or warning."""

    at: datetime
    amount: str
    state: str
    money: str = ""
    ids: str = ""
    to_do: str = ""
    level: str = "error"
    links: list[Link] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)


@dataclass
class TextRow:
    at: datetime
    kind: str
    status: str
    label: str
    meaning: str
    link: Link
    actions: list[Action]


@dataclass
class CustomerTimeline:
    """The data about one player, as shown on the page.

    `call`: the full phone number, or "" if the user may not see it. `older`: links to the complete lists.
    """

    phone: str
    call: str
    player: Player | None
    stakes: list[StakeRow]
    texts: list[TextRow]
    events: list[Event]
    suppression: SmsSuppression | None
    may_note: bool = False
    older: list[Link] = field(default_factory=list)

    @property
    def attention(self) -> list[StakeRow]:
        """Return the stakes that an operator must act on, errors first."""
        return sorted((row for row in self.stakes if row.to_do), key=lambda row: row.level != "error")

    @property
    def empty(self) -> bool:
        return not (self.stakes or self.texts or self.events or self.suppression)


@dataclass
class _Rows:
    """The database rows about a player.

    `by_key`: messages with a link or an invite, by dedupe key. `results`: won, lost, draw or void, by payment id.
    """

    entries: list[Entry]
    payments: list[Payment]
    messages: list[SmsMessage]
    by_key: dict[str | None, SmsMessage]
    results: dict[int, str]
    inbound: list[SmsInbound]
    notes: list[PlayerNote]
    due: set[int]
    resendable: set[int]


def gather(request: HttpRequest, phone: str) -> CustomerTimeline:
    """Read the data that the user may see.

    This takes 20 to 30 queries, however many rows the player has.
    """
    may = request.user.has_perm
    in_full = may("sms.view_full_phone")
    player = Player.objects.filter(phone=phone).first()
    suppression = SmsSuppression.objects.filter(phone=phone).first() if may("sms.view_smsmessage") else None
    rows = _read(request, phone, player)
    return CustomerTimeline(
        phone=spaced(phone) if in_full else masked(phone),
        call=phone if in_full else "",
        player=player,
        stakes=_stake_rows(request, rows, phone if in_full else ""),
        texts=[_text_row(request, message, message.pk in rows.resendable) for message in rows.messages],
        events=list(_events(rows, suppression)),
        suppression=suppression,
        may_note=player is not None and may("playmatatu.add_playernote"),
        older=list(_older(phone if in_full else "", rows)),
    )


def _read(request: HttpRequest, phone: str, player: Player | None) -> _Rows:
    may = request.user.has_perm
    entries: list[Entry] = []
    if player is not None and may("game.view_entry"):
        opponents = Prefetch("session__entries", Entry.objects.select_related("player"))
        found = Entry.objects.filter(player=player).select_related("player", "payment", "session")
        entries = list(found.order_by("-pk").prefetch_related(opponents)[:MOST_STAKES])
    payments: list[Payment] = []
    if may("payments.view_payment"):
        of_phone = Payment.objects.filter(phone=phone).order_by("-pk")
        payments = list(of_phone.prefetch_related("callbacks", "refunds", "events")[:MOST_STAKES])
    messages: list[SmsMessage] = []
    if may("sms.view_smsmessage"):
        newest = SmsMessage.objects.filter(phone=phone).order_by("-created_at").prefetch_related("events")
        messages = list(newest[:MOST_TEXTS])
    keys = [entry.invite_key for entry in entries if entry.invite_phone]
    if may("sms.view_smsmessage"):
        keys += [key for entry in entries if entry.session_id for key in entry.link_keys]
    shown = SmsMessage.objects.filter(pk__in=[message.pk for message in messages])
    return _Rows(
        entries,
        payments,
        messages,
        {message.dedupe_key: message for message in SmsMessage.objects.filter(dedupe_key__in=keys)} if keys else {},
        _results([entry.payment_id for entry in entries] + [payment.pk for payment in payments]),
        list(SmsInbound.objects.filter(phone=phone).order_by("-pk")[:MOST_TEXTS]) if may("sms.view_smsinbound") else [],
        list(player.notes.order_by("-pk")[:MOST_TEXTS]) if player and may("playmatatu.view_playernote") else [],
        set(refunds.due().filter(pk__in=[payment.pk for payment in payments]).values_list("pk", flat=True)),
        set(outbox.worth_resending(shown)),
    )


def _events(rows: _Rows, suppression: SmsSuppression | None) -> Iterator[Event]:
    """Yield the events in the order they happened. Expected future events come last."""
    found: list[Event] = []
    replaced_at: datetime | None = None
    # The entries are sorted newest first, so the loop's previous entry is the player's next stake. `replaced_at` is the
    # time of this next stake.
    for entry in rows.entries:
        found += timeline_events.of_entry(entry, rows.by_key.get(entry.invite_key), replaced_at)
        replaced_at = entry.created_at
    for payment in rows.payments:
        found += timeline_events.of_payment(payment, rows.results.get(payment.pk, ""))
    sending = timeline.Sending()
    found += [event for message in rows.messages for event in timeline_events.of_message(message, sending)]
    found += timeline_events.of_inbound(rows.inbound)
    found += timeline_events.of_notes(rows.notes)
    logged = [*rows.payments, *rows.messages, *([suppression] if suppression else [])]
    found += timeline_events.of_operators(_log_entries(logged))
    yield from sorted(found, key=lambda event: (event.expected, event.at))


def _log_entries(rows: Iterable[Model]) -> list[LogEntry]:
    """Return the newest log entries of operators' actions on these rows."""
    which = Q(pk__in=())
    by_model: dict[type[Model], list[str]] = {}
    for row in rows:
        by_model.setdefault(type(row), []).append(str(row.pk))
    for model, keys in by_model.items():
        which |= Q(content_type=ContentType.objects.get_for_model(model), object_id__in=keys)
    return list(LogEntry.objects.filter(which).select_related("user", "content_type")[:MOST_LOG_ENTRIES])


def _stake_rows(request: HttpRequest, rows: _Rows, call: str) -> list[StakeRow]:
    """Return the stakes, newest first. A payment whose stake is not in `rows` gets its own row."""
    by_id = {payment.pk: payment for payment in rows.payments}
    found = [_stake_row(request, rows, entry, by_id.pop(entry.payment_id, None), call) for entry in rows.entries]
    found += [_payment_row(request, rows, payment) for payment in by_id.values()]
    return sorted(found, key=lambda row: row.at, reverse=True)


def _stake_row(request: HttpRequest, rows: _Rows, entry: Entry, payment: Payment | None, call: str) -> StakeRow:
    links = [change_link(entry, f"stake {entry.pk}")]
    if entry.session:
        links.append(change_link(entry.session, f"match {entry.session_id}"))
    state = RESULTS.get(rows.results.get(entry.payment_id, ""), "") or state_words(entry)
    row = StakeRow(entry.created_at, ugx(entry.stake_amount), state, links=links)
    if payment is not None:
        if payment.fee:
            row.amount += f" ({ugx(payment.amount)} with the fee)"
        _add_money(request, row, rows, payment)
    may_see = request.user.has_perm("sms.view_smsmessage")
    match = entry.session
    if match and not row.to_do and payment is not None and may_see and _is_without_link(entry, payment, rows):
        row.level, row.money = "warning", "Paid and matched, but no text with the link arrived."
        row.to_do = _without_link_to_do(match, spaced(call) if call else "the player")
        texts = _with_link(entry, rows)
        resend = [action for text in texts for action in _text_actions(request, text, text.pk in rows.resendable)]
        row.actions = [*resend, *_give_back(request, match), *row.actions]
    return row


def _payment_row(request: HttpRequest, rows: _Rows, payment: Payment) -> StakeRow:
    # A stake can exist but be left out of `rows`: it is too old, or the user may not see stakes.
    kind = "a payment" if Entry.objects.filter(payment=payment).exists() else "a payment without a stake"
    row = StakeRow(payment.created_at, ugx(payment.amount), kind)
    _add_money(request, row, rows, payment)
    return row


def _add_money(request: HttpRequest, row: StakeRow, rows: _Rows, payment: Payment) -> None:
    due, refund = payment.pk in rows.due, next(iter(payment.refunds.all()), None)
    row.money = wording.meaning(payment, refund, due, rows.results.get(payment.pk, ""))
    row.to_do = wording.to_do(payment, refund, due)
    row.actions = list(_money_actions(request, payment, refund, due))
    row.links.append(change_link(payment, f"payment {payment.pk}"))
    row.ids = f"Transaction ID {payment.transaction_id}"
    if payment.provider_id:
        row.ids += f", DMarkPay ID {payment.provider_id}"


def _without_link_to_do(match: Session, player: str) -> str:
    if match.status == "expired":
        return f"The match is over and has no result. Call {player}. If nobody played, give both stakes back."
    over = f"{timezone.localtime(match.expires_at):%H:%M}"
    return f"Resend the text, or call {player}. If nobody plays by {over}, you can give both stakes back here."


def _give_back(request: HttpRequest, match: Session) -> Iterator[Action]:
    """Yield a button that marks both stakes of a match for refund, if the match is over and the user may do this."""
    may = request.user.has_perm
    if match.status == "expired" and may("payments.refund_payment") and may("game.view_session"):
        yield Action("Give both stakes back…", reverse("admin:game_session_changelist"), "give_back", match.pk)


def _is_without_link(entry: Entry, payment: Payment, rows: _Rows) -> bool:
    """Return True if the player has paid, still needs the match link and probably did not receive it."""
    is_paid = payment.status == Payment.Status.SUCCESS and payment.refunded_at is None
    if entry.payment_id in rows.results or not is_paid:
        return False
    return not any(_may_have_arrived(message) for message in _with_link(entry, rows))


def _with_link(entry: Entry, rows: _Rows) -> list[SmsMessage]:
    """Return the messages that contain the player's link to the match.

    If there is a `match_found` message, only that message contains the link.
    """
    texts = [rows.by_key[key] for key in entry.link_keys if key in rows.by_key]
    return texts[:1] if texts and texts[0].kind == "match_found" else texts


def _may_have_arrived(message: SmsMessage) -> bool:
    if message.status == Status.DELIVERED or message.opened_at is not None:
        return True
    if message.status == Status.SENT and not conf.current().dlr_enabled:
        return True
    on_the_way = message.status in (Status.QUEUED, Status.SENDING, Status.SENT)
    return on_the_way and timezone.now() - message.created_at < DELIVERY_TIME


def _text_row(request: HttpRequest, message: SmsMessage, resendable: bool) -> TextRow:
    return TextRow(
        at=message.created_at,
        kind=message.kind or "plain",
        status=message.status,
        label=message.get_status_display(),
        meaning=message.error or timeline.MEANINGS[message.status],
        link=change_link(message, f"text {message.pk}"),
        actions=list(_text_actions(request, message, resendable)),
    )


def _text_actions(request: HttpRequest, message: SmsMessage, resendable: bool) -> Iterator[Action]:
    url = reverse("admin:sms_smsmessage_changelist")
    if resendable and request.user.has_perm("sms.resend_smsmessage"):
        yield Action("Resend…", url, "resend", message.pk)
    if message.status == Status.QUEUED and request.user.has_perm("sms.cancel_smsmessage"):
        yield Action("Cancel…", url, "cancel", message.pk)


def _older(phone: str, rows: _Rows) -> Iterator[Link]:
    if len(rows.entries) == MOST_STAKES:
        url = reverse("admin:game_entry_changelist")
        yield Link("all stakes", f"{url}?player__id__exact={rows.entries[0].player_id}")
    if len(rows.messages) == MOST_TEXTS and phone:
        yield Link("all texts", f"{reverse('admin:sms_smsmessage_changelist')}?phone__exact=%2B{phone.lstrip('+')}")


def _results(payments: Iterable[int]) -> dict[int, str]:
    """Return the match results (won, lost, draw or void for the payer) by payment id. Unknown results are left out."""
    ids = set(payments)
    found = {}
    for result in MatchResult.objects.filter(Q(first__in=ids) | Q(second__in=ids)) if ids else ():
        for pk in (result.first_id, result.second_id):
            won = result.outcome == MatchResult.Outcome.WIN
            found[pk] = ("won" if result.winner_id == pk else "lost") if won else result.outcome
    return found


def _money_actions(request: HttpRequest, payment: Payment, refund: Refund | None, due: bool) -> Iterator[Action]:
    url, may = reverse("admin:payments_payment_changelist"), request.user.has_perm
    taken_back = payment.contested and payment.status == Payment.Status.SUCCESS
    over = wording.is_over(refund)
    if may("payments.refund_payment"):
        if over and due:
            if providers.current() is not None:
                yield Action("Refund by payout…", url, "refund", payment.pk)
            yield Action("Record a manual refund…", url, "mark_refunded", payment.pk)
        elif refund is not None and refund.state == Refund.State.IN_DOUBT:
            payouts = reverse("admin:payments_refund_changelist")
            yield Action("It was paid out…", payouts, "went_out", refund.pk)
            yield Action("It was not paid out…", payouts, "stayed", refund.pk)
    if may("payments.settle_payment"):
        if taken_back:
            yield Action("Close dispute: payment received…", url, "end_contest", payment.pk)
            yield Action("The provider took the money back…", url, "contest_gone", payment.pk)
        if payment.collection in (Payment.Collection.IN_DOUBT, Payment.Collection.UNRESOLVED):
            yield Action("Mark as paid…", url, "settle_paid", payment.pk)
            yield Action("Mark as not paid…", url, "settle_unpaid", payment.pk)
