"""The dashboard, the admin's first page: tiles with numbers. Most tiles link to a list of the counted rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from game.models import Entry, Session
from payments import ledger
from payments.admin import wording as money_wording
from payments.rules.states import Account
from playmatatu.alert_sources import late_counts
from sms.formats import MANY, counted, ugx
from sms.models import SmsMessage, SmsSuppression, Status
from sms.stats import status


@dataclass(frozen=True)
class Tile:
    """A number with a label. `tone`: good, bad or plain. `url`: the admin list of the counted rows, or ""."""

    label: str
    number: str
    url: str = ""
    tone: str = "plain"


ATTENTION = "Needs attention"


def gather(request: HttpRequest) -> dict[str, list[Tile]]:
    """Return the tiles by the heading of their section. Sections that the user may not see are empty."""
    may = request.user.has_perm
    current = ledger.figures() if may("payments.view_payment") else None
    attention = [*_attention(current), *_late()] if current else []
    return {
        ATTENTION: [tile for tile in attention if tile.number != "0"],
        "Money today": list(_money(current)) if current else [],
        "Where the money is now": list(_balances(current)) if current else [],
        "Sending": list(_sending()) if may("sms.view_smsmessage") else [],
        "Playing": list(_playing()) if may("game.view_entry") else [],
    }


def _list(model: str, **query: object) -> str:
    url = reverse(f"admin:{model}_changelist")
    return f"{url}?{'&'.join(f'{name}={value}' for name, value in query.items())}" if query else url


def _sum(amount: int, payments: int) -> str:
    return f"{ugx(amount)} in {counted(payments)} payment{'' if payments == 1 else 's'}"


def _attention(money: ledger.Figures) -> Iterator[Tile]:
    """Yield a tile for each kind of payment, prize, refund or callback that needs an operator."""
    payment, callback, refund = "payments_payment", "payments_callback", "payments_refund"
    due = _sum(money.refund_due_ugx, money.refund_due) if money.refund_due else "0"
    yield Tile("refunds due", due, _list(payment, refund="due"), "bad")
    result = "payments_matchresult"
    for label, number, url in (
        ("prizes to be paid", money.prizes_due, _list(result, prize="payable")),
        ("prizes held", money.prizes_held, _list(result, prize="held")),
        ("disputed payments", money.contested, _list(payment, contested__exact=1)),
        ("payments without an answer for a day", money.unresolved, _list(payment, collection="unresolved")),
        ("notifications not confirmed for a day", money.unanswered, _list(payment, collection="unanswered")),
        ("payments with an unknown status word", money.unknown_words, _list(payment, collection="unknown_word")),
        ("payments where we don't know if the player was asked", money.in_doubt, _list(payment, collection="in_doubt")),
        (
            "refunds where we don't know if they were paid out",
            money.refunds_in_doubt,
            _list(refund, state__exact="in_doubt"),
        ),
        ("callbacks rejected in the last day", money.refused, _list(callback, refused="refused")),
        ("unreadable callbacks", money.unreadable, _list(callback, refused="unreadable")),
    ):
        yield Tile(label, counted(number), url, "bad")


# Labels of kinds of overdue work, by their names in `late_counts()`. A kind without a label is shown by its name.
_LATE = {
    "stakes_to_end": "stakes past their end: game_worker is late",
    "stakes_to_activate": "paid stakes not opened: game_worker is late",
    "payment_requests": "payment requests not sent: game_worker is late",
    "status_polls": "payments not checked: game_worker is late",
}


def _late() -> Iterator[Tile]:
    for work, number in late_counts().items():
        yield Tile(_LATE.get(work, work.replace("_", " ")), counted(number), _list("game_gameworker"), "bad")


# Kinds of postings that are shown even if today has none.
_USUAL = ("in", "refunds", "prizes")
_BAD = ("taken_back",)
# Kinds of postings that operators enter. The tiles of these kinds link to a separate admin list.
_OPERATORS = ("fees", "withdrawals")
_ENTRIES = "payments_ledgerentry"


def _money(money: ledger.Figures) -> Iterator[Tile]:
    """Yield a tile for each kind of ledger posting of today, then tiles for payments that are not booked yet."""
    today = timezone.localdate()
    for name, amount in ledger.day(today).items():
        if amount.postings or name in _USUAL:
            own = name in _OPERATORS
            url = _list("payments_providerdebit", day=today) if own else _list(_ENTRIES, day=today, flow=name)
            tone = "bad" if name in _BAD else "good" if name == "in" and amount.postings else "plain"
            # Each prize has two postings, one for each stake. The number of postings would mislead, so only the sum is
            # shown.
            total = ugx(amount.ugx) if name in ("out", "prizes") else _sum(amount.ugx, amount.postings)
            yield Tile(ledger.FLOWS[name].label, total, url, tone)
    if money.asked:
        yield Tile("payments requested, not yet answered", counted(money.asked))
    if money.to_adopt:
        yield Tile("payments that the journal does not know yet", counted(money.to_adopt), tone="bad")


_ALWAYS = (Account.PROVIDER, Account.WAITING, Account.IN_MATCH, Account.REFUND_DUE, Account.PRIZE, Account.COMMISSION)


def _balances(money: ledger.Figures) -> Iterator[Tile]:
    """Yield a tile for each ledger account that holds money.

    Accounts in `_ALWAYS` are shown even if they are empty.
    """
    for account, words in money_wording.ACCOUNTS.items():
        amount = money.balances[account]
        if amount or account in _ALWAYS:
            tone = "bad" if account in (Account.LOST, Account.CONTESTED) else "plain"
            own = account.value in _OPERATORS
            url = _list("payments_providerdebit") if own else _list(_ENTRIES, account=account.value)
            yield Tile(words, ugx(amount), url, tone)


def _sending() -> Iterator[Tile]:
    hour = timezone.now() - timedelta(hours=1)
    recent = SmsMessage.objects.filter(created_at__gte=hour).order_by()
    yield Tile("texts in the last hour", counted(recent[:MANY].count()), _list("sms_smsmessage", within=3600))
    yield Tile("waiting", counted(status.waiting()), _list("sms_smsmessage", status__exact="queued"))
    for ended in (Status.FAILED, Status.UNDELIVERED, Status.UNKNOWN, Status.EXPIRED):
        number = recent.filter(status=ended)[:MANY].count()
        url = _list("sms_smsmessage", status__exact=ended.value, within=3600)
        yield Tile(f"{ended.label} in the last hour", counted(number), url, "bad" if number else "plain")
    suppressed = SmsSuppression.objects.order_by()[:MANY].count()
    yield Tile("on the do-not-text list", counted(suppressed), _list("sms_smssuppression"))


def _playing() -> Iterator[Tile]:
    waiting = Entry.objects.filter(status=Entry.Status.OPEN).order_by()
    yield Tile("open stakes", counted(waiting[:MANY].count()), _list("game_entry", status__exact="queued"))
    unpaid = Entry.objects.filter(status=Entry.Status.AWAITING_PAYMENT).order_by()
    url = _list("game_entry", status__exact="awaiting_payment")
    yield Tile("unpaid stakes", counted(unpaid[:MANY].count()), url)
    day = timezone.now() - timedelta(days=1)
    matches = Session.objects.filter(created_at__gte=day).order_by()
    yield Tile("matches in the last day", counted(matches[:MANY].count()), _list("game_session"))
