"""The admin's first page: sending, money, and what needs a person; each number leads to what it counts."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from game.models import Entry, Session
from payments import books, figures
from payments.books import Place
from playmatatu.operator.timeline_steps import ugx
from sms.models import SmsMessage, SmsSuppression, Status
from sms.stats import pulse

_MOST = pulse.MANY


@dataclass(frozen=True)
class Figure:
    """`number` as shown; `tone`: good, bad or plain; `url`: the list behind it, "" where there is none."""

    label: str
    number: str
    url: str = ""
    tone: str = "plain"


@dataclass(frozen=True)
class House:
    """Each part is empty for who may not see it."""

    sending: list[Figure]
    money: list[Figure]
    playing: list[Figure]
    needs: list[Figure]


def gather(request: HttpRequest) -> House:
    """Some fifteen bounded queries."""
    may = request.user.has_perm
    money = figures.current() if may("payments.view_payment") else None
    return House(
        sending=list(_sending()) if may("sms.view_smsmessage") else [],
        money=list(_money()) if money else [],
        playing=list(_playing()) if may("game.view_entry") else [],
        needs=[figure for figure in _needs(money) if figure.number != "0"] if money else [],
    )


def _list(model: str, **query: object) -> str:
    url = reverse(f"admin:{model}_changelist")
    return f"{url}?{'&'.join(f'{name}={value}' for name, value in query.items())}" if query else url


def _many(number: int) -> str:
    return f"{_MOST:,} or more" if number >= _MOST else f"{number:,}"


def _sending() -> Iterator[Figure]:
    hour = timezone.now() - timedelta(hours=1)
    texts = SmsMessage.objects.filter(created_at__gte=hour).order_by()
    yield Figure("texts in the last hour", _many(texts[:_MOST].count()), _list("sms_smsmessage", within=3600))
    yield Figure("waiting", _many(pulse.waiting()), _list("sms_smsmessage", status__exact="queued"))
    ends = (Status.FAILED, Status.UNDELIVERED, Status.UNKNOWN)
    for status in ends:
        number = texts.filter(status=status)[:_MOST].count()
        url = _list("sms_smsmessage", status__exact=status.value, within=3600)
        yield Figure(f"{status.label} in the last hour", _many(number), url, "bad" if number else "plain")
    never = SmsSuppression.objects.order_by()[:_MOST].count()
    yield Figure("numbers never texted", _many(never), _list("sms_smssuppression"))


def _money() -> Iterator[Figure]:
    """Today's: every shilling that came in is in exactly one of the places."""
    sums = books.day(timezone.localdate())
    yield _sum("collected", sums.collected, "collected", "good")
    for place in Place:
        amount: books.Amount = getattr(sums, place.value)
        usual = place in (Place.IN_MATCHES, Place.WAITING, Place.REFUNDED)
        if usual or amount.payments:
            yield _sum(place.label, amount, place.value, "plain" if usual else "bad")
    if sums.unanswered.payments:
        yield _sum("asked, no answer yet", sums.unanswered, "", "plain")


def _sum(label: str, amount: books.Amount, place: str, tone: str) -> Figure:
    url = _list("payments_payment", today=place) if place else ""
    return Figure(label, f"{ugx(amount.ugx)} · {amount.payments:,}", url, tone if amount.payments else "plain")


def _playing() -> Iterator[Figure]:
    waiting = Entry.objects.filter(status=Entry.Status.OPEN).order_by()
    yield Figure("stakes that wait", _many(waiting[:_MOST].count()), _list("game_entry", status__exact="queued"))
    unpaid = Entry.objects.filter(status=Entry.Status.AWAITING_PAYMENT).order_by()
    url = _list("game_entry", status__exact="awaiting_payment")
    yield Figure("stakes that await their payment", _many(unpaid[:_MOST].count()), url)
    day = timezone.now() - timedelta(days=1)
    matches = Session.objects.filter(created_at__gte=day).order_by()
    yield Figure("matches in the last day", _many(matches[:_MOST].count()), _list("game_session"))


def _needs(money: figures.Figures) -> Iterator[Figure]:
    """What waits for a person's judgement; none of it moves by itself."""
    payment, callback, refund = "payments_payment", "payments_callback", "payments_refund"
    due = f"{money.refund_due:,} · {ugx(money.refund_due_ugx)}" if money.refund_due else "0"
    yield Figure("refunds due", due, _list(payment, refund="due"), "bad")
    for label, number, url in (
        ("contested payments", money.contested, _list(payment, contested__exact=1)),
        ("payments without an answer for a day", money.unresolved, _list(payment, collection="unresolved")),
        ("payments in doubt: asked or not", money.in_doubt, _list(payment, collection="in_doubt")),
        ("refunds in doubt: paid out or not", money.refunds_in_doubt, _list(refund, state__exact="in_doubt")),
        ("callbacks refused in the last day", money.refused, _list(callback, refused="refused")),
        ("callbacks that could not be read", money.unreadable, _list(callback, refused="unreadable")),
    ):
        yield Figure(label, _many(number), url, "bad")
