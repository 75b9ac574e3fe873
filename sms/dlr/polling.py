"""Poll DMark for missing delivery reports up to one day after sending, the oldest messages first."""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from django.db.models import DateTimeField, DurationField, ExpressionWrapper, F, Q, QuerySet, Value

from sms import clock
from sms.dlr import statuses
from sms.dlr.statuses import final_status
from sms.dmark import blocking
from sms.dmark.exchange import log_exchange
from sms.errors import ProviderRejected
from sms.models import SmsMessage, Status

logger = logging.getLogger("sms.polling")

FIRST_POLL_AGE = 120.0
GIVE_UP = timedelta(days=1)


def due(min_age: float) -> "QuerySet[SmsMessage]":
    """Return the messages to poll now, which were sent at least `min_age` seconds and at most one day ago.

    A message is polled again when its age has doubled since the last poll, so that messages without a report do not
    delay other messages.
    """
    now = clock.now()
    age_then = ExpressionWrapper(F("polled_at") - F("sent_at"), output_field=DurationField())
    again = ExpressionWrapper(Value(now, output_field=DateTimeField()) - age_then, output_field=DateTimeField())
    unreported = SmsMessage.objects.filter(
        status=Status.SENT, sent_at__gt=now - GIVE_UP, sent_at__lte=now - timedelta(seconds=min_age)
    )
    return unreported.filter(Q(polled_at=None) | Q(polled_at__lte=again)).exclude(provider_id="").order_by("sent_at")


def poll(
    min_age: float = FIRST_POLL_AGE, limit: int = 500, stopping: Callable[[], bool] = lambda: False
) -> "Counter[str]":
    """Poll DMark for the delivery reports of up to `limit` messages. Returns the number of messages by status.

    Raises ProviderError if the remaining polls would probably fail too, for example because DMark is unreachable.
    Raises SmsDisabled if SMS is switched off and a message is due.
    """
    counts: Counter[str] = Counter()
    for message in due(min_age)[:limit]:
        if stopping():
            break
        # Two processes may poll at the same time. Only the process whose UPDATE changes `polled_at` asks DMark.
        mine = SmsMessage.objects.filter(pk=message.pk, polled_at=message.polled_at)
        if not mine.update(polled_at=clock.now()):
            continue
        try:
            word = blocking.report(message.provider_id, lambda exchange, of=message: log_exchange(of, exchange))  # type: ignore[misc]
        except ProviderRejected:
            word = ""  # DMark's response contains no report. `log_exchange` has logged the error.
        statuses.record_report(message.pk, word, "poll")
        counts[str(final_status(word) or Status.SENT)] += 1
    return counts
