"""Figures about the money: balances of accounts, totals of a day, and counts of payments that need attention.

The totals of each hour are stored (`AccountHour`) at least ten minutes after the hour ends. For hours whose totals are
not stored yet, ledger entries are summed. Each count uses an index.
"""

from argparse import ArgumentTypeError
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import Count, Max, Min, Q, QuerySet, Sum
from django.utils import timezone
from django.utils.dateparse import parse_date

from payments import database, journal, refunds
from payments.models import AccountHour, Callback, LedgerEntry, MatchResult, Payment, ProviderDebit, Refund
from payments.rules.match import Prize
from payments.rules.payment import UNKNOWN_WORD_AFTER
from payments.rules.states import ASSETS, Account

# Minimum time between the end of an hour and the storing of its totals.
CLOSED_AFTER = timedelta(minutes=10)
# One call of `write_hours` stores the totals of at most this period.
_AT_ONCE = timedelta(hours=12)


class Amount(NamedTuple):
    """The sum of several postings in whole UGX, and their number."""

    ugx: int = 0
    postings: int = 0


class Moves:
    """Sums of postings in a period of whole hours, by debit and credit account."""

    def __init__(self) -> None:
        self._sums: dict[tuple[Account, Account], Amount] = {}

    def add(self, debit: str, credit: str, ugx: int, postings: int) -> None:
        pair = Account(debit), Account(credit)
        before = self._sums.get(pair, Amount())
        self._sums[pair] = Amount(before.ugx + ugx, before.postings + postings)

    def total(self, debit: Collection[Account], credit: Collection[Account]) -> Amount:
        """Return the sum of the postings with a debit account in `debit` and a credit account in `credit`."""
        found = [amount for pair, amount in self._sums.items() if pair[0] in debit and pair[1] in credit]
        return Amount(sum(one.ugx for one in found), sum(one.postings for one in found))

    def balances(self) -> dict[Account, int]:
        """Return the balance of each account: debit minus credit for ASSETS, credit minus debit for the others."""
        signed: Counter[Account] = Counter()
        for (debit, credit), amount in self._sums.items():
            signed[debit] -= amount.ugx
            signed[credit] += amount.ugx
        return {account: -signed[account] if account in ASSETS else signed[account] for account in Account}


class Flow(NamedTuple):
    """A figure of the daily totals: its label, and the debit and credit accounts of its postings."""

    label: str
    debit: tuple[Account, ...]
    credit: tuple[Account, ...]


_ALL = tuple(Account)
_BUT_OPENING = tuple(account for account in Account if account is not Account.OPENING)
_POCKETS = (Account.PROVIDER, Account.ELSEWHERE)
# The figures of the daily totals. "in" and "out" can be compared with the provider's statement.
FLOWS = {
    "in": Flow("paid in at the provider", (Account.PROVIDER,), _BUT_OPENING),
    "out": Flow("paid out by the provider", _BUT_OPENING, (Account.PROVIDER,)),
    "refunds": Flow("refunded", (Account.REFUND_DUE, Account.REFUND_TRANSIT), _POCKETS),
    "prizes": Flow("prizes paid", (Account.PRIZE, Account.PRIZE_TRANSIT), _POCKETS),
    "commission": Flow("commission earned", _BUT_OPENING, (Account.COMMISSION,)),
    "fees": Flow("fees of the provider", (Account.FEES,), (Account.PROVIDER,)),
    "withdrawals": Flow("withdrawn by the owner", (Account.WITHDRAWALS,), (Account.PROVIDER,)),
    "taken_back": Flow("taken back by the provider", (Account.CONTESTED, Account.LOST), (Account.PROVIDER,)),
}


def _floor(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def write_hours() -> int:
    """Store the totals of up to 12 past hours. Return the number of new rows.

    An hour's totals are stored after all transactions that began before its end have finished.
    """
    with transaction.atomic():
        # Other workers wait for this lock. Transactions that add entries to a past hour wait too.
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("LOCK TABLE payments_accounthour IN SHARE ROW EXCLUSIVE MODE")
        end = _floor(min(database.now(), _oldest_transaction()) - CLOSED_AFTER)
        entries = LedgerEntry.objects.filter(hour__lt=end)
        last = AccountHour.objects.aggregate(last=Max("hour"))["last"]
        if last is not None:
            entries = entries.filter(hour__gt=last)
        first = entries.aggregate(first=Min("hour"))["first"]
        if first is None:
            return 0
        rows = list(_by_hour(entries.filter(hour__gte=first, hour__lt=first + _AT_ONCE)))
        AccountHour.objects.bulk_create(rows, ignore_conflicts=True)
        return len(rows)


def _by_hour(entries: "QuerySet[LedgerEntry]") -> Iterator[AccountHour]:
    """Yield the totals of each hour, in the order of the hours."""
    rows = entries.order_by("hour", "debit", "credit").values("hour", "debit", "credit")
    for row in rows.annotate(total=Sum("amount"), rows=Count("pk")):
        yield AccountHour(
            hour=row["hour"], debit=row["debit"], credit=row["credit"], amount=row["total"], count=row["rows"]
        )


def _oldest_transaction() -> datetime:
    """Return the time at which the oldest other transaction began, or the current time if there is none."""
    oldest: datetime | None = None
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database() "
                "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            oldest = cursor.fetchone()[0]
    return oldest or database.now()


def wrong_hours(since: datetime) -> Iterator[str]:
    """Yield a sentence for each hour after `since` whose stored totals differ from its entries."""
    last = AccountHour.objects.aggregate(last=Max("hour"))["last"]
    if last is None:
        return
    found: defaultdict[datetime, list[set[tuple[object, ...]]]] = defaultdict(lambda: [set(), set()])
    span = {"hour__gte": _floor(since), "hour__lte": last}
    for side, rows in enumerate((AccountHour.objects.filter(**span), _by_hour(LedgerEntry.objects.filter(**span)))):
        for row in rows:
            found[row.hour][side].add((row.debit, row.credit, row.amount, row.count))
    for hour, (written, entries) in sorted(found.items()):
        if written != entries:
            yield f"The totals of the hour from {timezone.localtime(hour):%d %b %Y, %H:%M} differ from its entries."


def _moves(start: datetime | None = None, end: datetime | None = None) -> Moves:
    """Return the sums of a period of whole hours: the ledger's postings, and operators' withdrawals and fees."""
    # Look up the last stored hour only once. If a worker stored an hour between two look-ups, it would count twice.
    last = AccountHour.objects.aggregate(last=Max("hour"))["last"]
    span = {name: moment for name, moment in (("hour__gte", start), ("hour__lt", end)) if moment is not None}
    entries, moves = LedgerEntry.objects.filter(**span).order_by(), Moves()
    if last is not None:
        entries = entries.filter(hour__gt=last)
        hours = AccountHour.objects.filter(**span, hour__lte=last).order_by()
        for row in hours.values_list("debit", "credit").annotate(Sum("amount"), Sum("count")):
            moves.add(*row)
    for row in entries.values_list("debit", "credit").annotate(Sum("amount"), Count("pk")):
        moves.add(*row)
    between = {name.replace("hour", "at"): moment for name, moment in span.items()}
    for account, *totals in (
        ProviderDebit.objects.filter(**between).order_by().values_list("account").annotate(Sum("amount"), Count("pk"))
    ):
        moves.add(account, Account.PROVIDER.value, *totals)
    return moves


def bounds(day: date) -> tuple[datetime, datetime]:
    """Return the start and the end of a day in the site's time zone. The end is the start of the next day."""
    start, end = (timezone.make_aware(datetime.combine(on, time.min)) for on in (day, day + timedelta(days=1)))
    return start, end


def start_of_day(text: str) -> datetime:
    """Return the start of a day, such as `2026-01-31`, in the site's time zone. Raises ArgumentTypeError."""
    try:
        found = parse_date(text)
    except ValueError:
        found = None
    if found is None:
        raise ArgumentTypeError(f"{text!r} is not a date; write it like 2026-01-31.")
    return bounds(found)[0]


def day(on: date) -> dict[str, Amount]:
    """Return the totals of a day in the site's time zone, keyed by the names in FLOWS.

    Later events of a payment do not change the totals of a past day.
    """
    moves = _moves(*bounds(on))
    return {name: moves.total(flow.debit, flow.credit) for name, flow in FLOWS.items()}


def balances() -> dict[Account, int]:
    """Return the current balance of each account: debit minus credit for ASSETS, credit minus debit for the others."""
    return _moves().balances()


def unknown_words() -> Q:
    """Return a condition for payments that need an operator's decision because of an unknown status word."""
    hour_ago = database.now() - UNKNOWN_WORD_AFTER
    pending = Q(other_since__lte=hour_ago, status=Payment.Status.PENDING)
    return pending | Q(other_since__isnull=False, place__in=("refunded", "prize_paid"), settled_by_name="")


class Figures(NamedTuple):
    """Figures for /metrics and the dashboard: counts, amounts in whole UGX, and balances."""

    to_ask: int
    oldest_to_ask: datetime | None
    asked: int
    in_doubt: int
    unresolved: int
    contested: int
    refund_due: int
    refund_due_ugx: int
    refunds_under_way: int
    refunds_in_doubt: int
    refused: int  # Callbacks of the last 24 hours, rejected with a status other than 400 and not marked as seen.
    unreadable: int  # Callbacks of the last 24 hours, rejected with status 400 and not marked as seen.
    lost_ugx: int
    prizes_due: int
    prizes_held: int
    answers_owed: int  # Payments with a callback or notification that waits for a poll's answer.
    unanswered: int  # Those of `answers_owed` whose last callback or notification is over a day old.
    unknown_words: int  # Payments that need an operator's decision because of an unknown status word.
    to_adopt: int  # Payments that are missing from the journal or were changed without it.
    balances: dict[Account, int]  # Whole UGX on each ledger account.


def figures() -> Figures:
    """Return the current figures for /metrics and the dashboard, with at most 17 queries."""
    # Three queries, each with its own partial index, count the payment requests. One query would read every payment.
    rows = Payment.objects.order_by()
    to_start = rows.filter(collection__in=(Payment.Collection.DUE, Payment.Collection.ASKING)).aggregate(
        to_ask=Count("pk", filter=Q(collection=Payment.Collection.DUE)),
        oldest=Min("created_at", filter=Q(collection=Payment.Collection.DUE)),
        asking=Count("pk", filter=Q(collection=Payment.Collection.ASKING)),
    )
    # A payment whose request was sent has a value in `next_ask_at` until its status is final.
    asked = rows.filter(collection=Payment.Collection.ASKED, next_ask_at__isnull=False).count()
    doubts = rows.filter(collection__in=(Payment.Collection.IN_DOUBT, Payment.Collection.UNRESOLVED)).aggregate(
        in_doubt=Count("pk", filter=Q(collection=Payment.Collection.IN_DOUBT)),
        unresolved=Count("pk", filter=Q(collection=Payment.Collection.UNRESOLVED)),
    )
    due = [part.aggregate(payments=Count("pk"), ugx=Sum("amount")) for part in refunds.due_in_parts()]
    payouts = Refund.objects.filter(
        state__in=(Refund.State.ORDERED, Refund.State.STARTED, Refund.State.IN_DOUBT)
    ).aggregate(
        under_way=Count("pk", filter=~Q(state=Refund.State.IN_DOUBT)),
        in_doubt=Count("pk", filter=Q(state=Refund.State.IN_DOUBT)),
    )
    callbacks = (
        Callback.objects.exclude(refusal="")
        .filter(seen_at=None)
        .filter(received_at__gte=database.now() - timedelta(days=1))
        .aggregate(refused=Count("pk", filter=~Q(answered=400)), unreadable=Count("pk", filter=Q(answered=400)))
    )
    prizes = MatchResult.objects.filter(prize__in=(Prize.PAYABLE.value, Prize.HELD.value)).aggregate(
        due=Count("pk", filter=Q(prize=Prize.PAYABLE.value)), held=Count("pk", filter=Q(prize=Prize.HELD.value))
    )
    day_ago = database.now() - timedelta(days=1)
    owed = rows.filter(answer_owed_since__isnull=False).aggregate(
        answers=Count("pk"), late=Count("pk", filter=Q(answer_owed_since__lte=day_ago))
    )
    held = balances()
    return Figures(
        to_ask=to_start["to_ask"],
        oldest_to_ask=to_start["oldest"],
        asked=to_start["asking"] + asked,
        in_doubt=doubts["in_doubt"],
        unresolved=doubts["unresolved"],
        contested=Payment.objects.filter(contested=True).count(),
        refund_due=sum(part["payments"] for part in due),
        refund_due_ugx=sum(part["ugx"] or 0 for part in due),
        refunds_under_way=payouts["under_way"],
        refunds_in_doubt=payouts["in_doubt"],
        refused=callbacks["refused"],
        unreadable=callbacks["unreadable"],
        lost_ugx=held[Account.LOST],
        prizes_due=prizes["due"],
        prizes_held=prizes["held"],
        answers_owed=owed["answers"],
        unanswered=owed["late"],
        unknown_words=rows.filter(unknown_words()).count(),
        to_adopt=journal.left_to_adopt(),
        balances=held,
    )
