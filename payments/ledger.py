"""Sums over the ledger's postings: balances of accounts, totals of a day, and the balance of one payment."""

from collections import Counter
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, Max, Min, QuerySet, Sum

from payments import clock
from payments.models import AccountHour, LedgerEntry, Payment
from payments.rules import balances as balances_of
from payments.states import Account, State

# No transaction lasts longer; an hour's totals are written once nothing can be added to it any more.
CLOSED_AFTER = timedelta(minutes=10)
HOUR = timedelta(hours=1)
_ASSETS = (Account.PROVIDER, Account.ELSEWHERE, Account.LOST)
# The accounts that show the place of a payment: all but the assets and their counterpart.
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


def of_payment(payment: Payment) -> dict[Account, int]:
    """Return the balances of the owed accounts and of the commission for one payment, from its entries."""
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
