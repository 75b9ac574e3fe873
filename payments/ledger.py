"""Figures about the money: balances of accounts, totals of a day, and counts of payments that need attention.

For each hour that is over, the totals of the ledger are stored once (`AccountHour`). The balance of an account is the
sum of these totals and of the entries since then. The counts are for /metrics and the admin's first page. Each of them
uses an index.
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

# An hour's totals are written no sooner than this long after the hour ends. By then, every transaction that began
# before that end must have finished too.
CLOSED_AFTER = timedelta(minutes=10)
# The entries of at most this period are summed in one transaction.
_AT_ONCE = timedelta(hours=12)


class Amount(NamedTuple):
    """The sum of several postings in whole UGX, and their number."""

    ugx: int = 0
    postings: int = 0


class Moves:
    """The postings in a period of whole hours, summed for each pair of a debit and a credit account."""

    def __init__(self) -> None:
        self._sums: dict[tuple[Account, Account], Amount] = {}

    def add(self, debit: str, credit: str, ugx: int, postings: int) -> None:
        pair = Account(debit), Account(credit)
        before = self._sums.get(pair, Amount())
        self._sums[pair] = Amount(before.ugx + ugx, before.postings + postings)

    def total(self, debit: Collection[Account], credit: Collection[Account]) -> Amount:
        """Return the sum of the postings that debit one of the accounts `debit` and credit one of the accounts
        `credit`.
        """
        found = [amount for pair, amount in self._sums.items() if pair[0] in debit and pair[1] in credit]
        return Amount(sum(one.ugx for one in found), sum(one.postings for one in found))

    def balances(self) -> dict[Account, int]:
        """Return the balance of each account: debit minus credit for assets and expenses, credit minus debit for the
        others.
        """
        signed: Counter[Account] = Counter()
        for (debit, credit), amount in self._sums.items():
            signed[debit] -= amount.ugx
            signed[credit] += amount.ugx
        return {account: -signed[account] if account in ASSETS else signed[account] for account in Account}


class Flow(NamedTuple):
    """A figure of the daily totals: its name, and the accounts whose postings it adds up."""

    label: str
    debit: tuple[Account, ...]
    credit: tuple[Account, ...]


_ALL = tuple(Account)
_BUT_OPENING = tuple(account for account in Account if account is not Account.OPENING)
_POCKETS = (Account.PROVIDER, Account.ELSEWHERE)
# The figures of the daily totals. The first two can be compared with the provider's statement.
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
    """Write the totals of hours that are over, at most 12 of them. Return the number of new rows.

    Several workers may do this at once. An entry's hour is determined after its transaction has begun. Therefore an
    hour can get no more entries once all transactions that began before its end are over.
    """
    with transaction.atomic():
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
    """Return the time at which the oldest other transaction began, because that transaction may still add entries.

    SQLite has no other writing transaction, because it allows one writer at a time and the caller is that writer.
    """
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
    """Return the postings in a period of whole hours: from the stored totals, and for later hours from the entries."""
    # Read the last stored hour once. If a worker stores another hour in the meantime, its entries are still counted
    # once.
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
    """Parse a command's argument, a date.

    Return the start of that day in the site's time zone. Raises ArgumentTypeError.
    """
    try:
        found = parse_date(text)
    except ValueError:
        found = None
    if found is None:
        raise ArgumentTypeError(f"{text!r} is not a date; write it like 2026-01-31.")
    return bounds(found)[0]


def day(on: date) -> dict[str, Amount]:
    """Return the totals of a day in the site's time zone, by the names in FLOWS. Needs at most four queries.

    Entries count on the day on which they were posted, so the totals of a past day never change.
    """
    moves = _moves(*bounds(on))
    return {name: moves.total(flow.debit, flow.credit) for name, flow in FLOWS.items()}


def balances() -> dict[Account, int]:
    """Return the current balance of each account. Assets and expenses are debit minus credit, the others the
    reverse.
    """
    return _moves().balances()


def unknown_words() -> Q:
    """Return a condition for payments whose unknown status word needs a decision by an operator.

    Either the payment has no final status and has had such a word for an hour, or it got such a word after its money
    was paid out.
    """
    hour_ago = database.now() - UNKNOWN_WORD_AFTER
    pending = Q(other_since__lte=hour_ago, status=Payment.Status.PENDING)
    return pending | Q(other_since__isnull=False, place__in=("refunded", "prize_paid"), settled_by_name="")


class Figures(NamedTuple):
    """Counts of payments that need attention.

    - `refused`, `unreadable`: callbacks of the last 24 hours
    - `answers_owed`: payments without a complete answer to a poll since their last notification
    - `unanswered`: those of them whose notification is over a day old
    - `unknown_words`: payments with an unknown status word, which an operator must decide
    - `to_adopt`: payments that the journal does not contain yet
    - `balances`: whole UGX on each account of the ledger
    """

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
    refused: int
    unreadable: int
    lost_ugx: int
    prizes_due: int
    prizes_held: int
    answers_owed: int
    unanswered: int
    unknown_words: int
    to_adopt: int
    balances: dict[Account, int]


def figures() -> Figures:
    """Return the current counts. This needs at most 16 queries."""
    # These are three queries, because each can use a partial index. One query would read every payment.
    rows = Payment.objects.order_by()
    to_start = rows.filter(collection__in=(Payment.Collection.DUE, Payment.Collection.ASKING)).aggregate(
        to_ask=Count("pk", filter=Q(collection=Payment.Collection.DUE)),
        oldest=Min("created_at", filter=Q(collection=Payment.Collection.DUE)),
        asking=Count("pk", filter=Q(collection=Payment.Collection.ASKING)),
    )
    # Every payment whose request was sent and that has no status yet has a time for its next poll.
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
