"""What of the money a person is told of at night, beside what `sms` tells of the sending."""

from collections.abc import Iterable
from datetime import datetime

from payments.models import Payment
from sms.alerts import Condition

# So many are counted; more are as bad.
_MOST = 1000


def contested(now: datetime) -> Iterable[Condition]:
    """The provider contradicts its own word on some payments."""
    number = Payment.objects.filter(contested=True).order_by()[:_MOST].count()
    if number:
        many = f"{number}{' or more' if number == _MOST else ''} payment{'s are' if number > 1 else ' is'} contested"
        yield Condition(
            "payments:contested",
            f"{many}: the provider said one thing and then the other. Look each up there; the admin's list of "
            "contested payments says what to do.",
        )
