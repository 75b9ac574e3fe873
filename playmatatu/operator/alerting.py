"""Alert conditions about payments and the game. The alert conditions about sending are in `sms`."""

from collections.abc import Iterable
from datetime import datetime

from payments.models import Payment
from playmatatu import overdue
from sms.alerts import Condition

# Counting stops at this number, so that the cost of a check does not depend on the number of rows.
_MOST = 1000


def contested(now: datetime) -> Iterable[Condition]:
    """Yield a condition if the provider has contradicted its own final status of some payments."""
    number = Payment.objects.filter(contested=True).order_by()[:_MOST].count()
    if number:
        many = f"{number:,}{' or more' if number == _MOST else ''} payment{'s are' if number > 1 else ' is'} contested"
        yield Condition(
            "payments:contested",
            f"{many}: the provider reported success and then failure, or the reverse. Look each one up in the "
            "DMarkPay portal; the admin's list of contested payments says what to do.",
        )


def late_work(now: datetime) -> Iterable[Condition]:
    """Yield a condition if some work of `game_worker` is at least a minute late."""
    late = {work.replace("_", " "): count for work, count in overdue.counts().items() if count}
    if late:
        found = ", ".join(f"{count:,} {work}" for work, count in late.items())
        yield Condition(
            "game:overdue",
            f"Work is over a minute late: {found}. Check that manage.py game_worker runs, and read its log.",
        )
