"""Where the money is, as a sum of postings: balances, days, and what one payment's entries add up to."""

from collections import Counter
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from django.db.models import Count, Max, Min, QuerySet, Sum
from django.utils import timezone

from payments import clock
from payments.models import AccountHour, LedgerEntry, Payment
from payments.rules import balances as balances_of
from payments.states import Account, State

# No transaction lasts longer; an hour's totals are written once nothing can be added to it any more.
CLOSED_AFTER = timedelta(minutes=10)
HOUR = timedelta(hours=1)
_ASSETS = (Account.PROVIDER, Account.ELSEWHERE, Account.LOST)
# What the accounts of a payment say of its place: all but the assets and their counterpart.
_OWED = [account for account in Account if account not in (*_ASSETS, Account.OPENING)]


class Moved(NamedTuple):
    """Postings from one account to another in a span."""

    debit: str
    credit: str
    amount: int
    postings: int


def _floor(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def write_hours(limit: int = 1000) -> int:
    """Write the totals of hours that are over. Any number of workers may; returns how many rows were new."""
    now = clock.now()
    end = _floor(now - CLOSED_AFTER)
    last = AccountHour.objects.aggregate(last=Max("hour"))["last"]
    first = LedgerEntry.objects.aggregate(first=Min("hour"))["first"] if last is None else last + HOUR
    if first is None or first >= end:
        return 0
    open_hours = LedgerEntry.objects.filter(hour__gte=first, hour__lt=end).order_by("hour", "debit", "credit")
    rows = list(open_hours.values("hour", "debit", "credit").annotate(total=Sum("amount"), rows=Count("pk")))
    found = [
        AccountHour(hour=row["hour"], debit=row["debit"], credit=row["credit"], amount=row["total"], count=row["rows"])
        for row in rows[:limit]
    ]
    if len(rows) > limit:  # only whole hours: the last one may be cut
        found = [one for one in found if one.hour < found[-1].hour]
    AccountHour.objects.bulk_create(found, ignore_conflicts=True)
    return len(found)


def _moved(start: datetime | None, end: datetime | None) -> list[Moved]:
    """All postings of a span of whole hours: totals of the hours that are written, entries for the others."""
    last = AccountHour.objects.aggregate(last=Max("hour"))["last"]
    totals: Counter[tuple[str, str]] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    hours: QuerySet[AccountHour] = AccountHour.objects.order_by()
    entries: QuerySet[LedgerEntry] = LedgerEntry.objects.order_by()
    if last is not None:
        entries = entries.filter(hour__gt=last)
    if start is not None:
        hours, entries = hours.filter(hour__gte=start), entries.filter(hour__gte=start)
    if end is not None:
        hours, entries = hours.filter(hour__lt=end), entries.filter(hour__lt=end)
    found = [*hours.values_list("debit", "credit").annotate(Sum("amount"), Sum("count"))] if last is not None else []
    found += entries.values_list("debit", "credit").annotate(Sum("amount"), Count("pk"))
    for debit, credit, amount, count in found:
        totals[debit, credit] += amount
        counts[debit, credit] += count
    return [Moved(debit, credit, totals[debit, credit], counts[debit, credit]) for debit, credit in totals]


def balances() -> dict[Account, int]:
    """The balance of each account now: assets and expenses by debit, the others by credit. Their signed sum is zero."""
    signed: Counter[Account] = Counter()
    for moved in _moved(None, None):
        signed[Account(moved.debit)] -= moved.amount
        signed[Account(moved.credit)] += moved.amount
    return {account: -signed[account] if account in _ASSETS else signed[account] for account in Account}


class Day(NamedTuple):
    """What moved on a day of the site's time zone, by account. A day that is over never changes."""

    moved: tuple[Moved, ...]

    def into(self, account: Account, *, but: Account | None = None) -> int:
        """UGX that came into an account; of an asset that is its debit side."""
        return self._sum(account, debit=account in _ASSETS, but=but)

    def out_of(self, account: Account, *, but: Account | None = None) -> int:
        return self._sum(account, debit=account not in _ASSETS, but=but)

    def between(self, debit: Account, credit: Account) -> Moved:
        """The postings of one pair of accounts."""
        found = (one for one in self.moved if (one.debit, one.credit) == (debit.value, credit.value))
        return next(found, Moved(debit.value, credit.value, 0, 0))

    def _sum(self, account: Account, *, debit: bool, but: Account | None) -> int:
        total = 0
        for one in self.moved:
            mine, other = (one.debit, one.credit) if debit else (one.credit, one.debit)
            if mine == account.value and other != (but.value if but else Account.OPENING.value):
                total += one.amount
        return total


def day(on: date) -> Day:
    """The postings of a day, without those that opened the ledger. Two or three queries."""
    start, end = bounds(on)
    return Day(tuple(one for one in _moved(start, end) if Account.OPENING.value not in (one.debit, one.credit)))


def bounds(on: date) -> tuple[datetime, datetime]:
    start = timezone.make_aware(datetime.combine(on, time.min))
    return start, timezone.make_aware(datetime.combine(on + timedelta(days=1), time.min))


def of_payment(payment: Payment) -> dict[Account, int]:
    """What the owed accounts and the commission hold of one payment, by its entries."""
    signed: Counter[str] = Counter()
    for debit, credit, amount in LedgerEntry.objects.filter(payment=payment).values_list("debit", "credit", "amount"):
        signed[debit] -= amount
        signed[credit] += amount
    return {account: signed[account.value] for account in _OWED if signed[account.value]}


def differs(payment: Payment, state: State) -> str:
    """How the entries of a payment differ from its place; "" if they agree."""
    expected, found = balances_of(state), of_payment(payment)
    if expected == found:
        return ""
    return f"its ledger entries say {_words(found)}, its place {_words(expected)}"


def _words(amounts: dict[Account, int]) -> str:
    return ", ".join(f"{account.value} {amount:,} UGX" for account, amount in amounts.items()) or "nothing"
