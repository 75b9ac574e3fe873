"""Asking DMark for the reports that never came: bounded, oldest first, given up after a day."""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from django.db.models import DateTimeField, DurationField, ExpressionWrapper, F, Q, QuerySet, Value
from django.utils import timezone

from sms.dlr import statuses
from sms.dlr.statuses import final_status
from sms.dmark import blocking
from sms.dmark.exchange import log_exchange
from sms.errors import ProviderRejected
from sms.models import SmsMessage, Status

logger = logging.getLogger("sms.polling")

MIN_AGE = 120.0
GIVE_UP = timedelta(days=1)


def due(min_age: float) -> "QuerySet[SmsMessage]":
    """Texts whose report is missing: sent at least `min_age` seconds and at most a day ago.

    One that was asked for is asked again only when it is twice as old: ten times in a day, so that the ones for
    which DMark never has an answer do not keep the others waiting.
    """
    now = timezone.now()
    age_then = ExpressionWrapper(F("polled_at") - F("sent_at"), output_field=DurationField())
    again = ExpressionWrapper(Value(now, output_field=DateTimeField()) - age_then, output_field=DateTimeField())
    unreported = SmsMessage.objects.filter(
        status=Status.SENT, sent_at__gt=now - GIVE_UP, sent_at__lte=now - timedelta(seconds=min_age)
    )
    return unreported.filter(Q(polled_at=None) | Q(polled_at__lte=again)).exclude(provider_id="").order_by("sent_at")


def poll(min_age: float = MIN_AGE, limit: int = 500, stopping: Callable[[], bool] = lambda: False) -> "Counter[str]":
    """Ask for up to `limit` texts; how many became what, by status.

    Raises ProviderError at once when DMark refuses the credentials or is out of reach: the next would fare the same.
    """
    became: Counter[str] = Counter()
    for message in due(min_age)[:limit]:
        if stopping():
            break
        # Two who poll at once do not ask twice for one.
        mine = SmsMessage.objects.filter(pk=message.pk, polled_at=message.polled_at)
        if not mine.update(polled_at=timezone.now()):
            continue
        try:
            word = blocking.report(message.provider_id, lambda exchange, of=message: log_exchange(of, exchange))  # type: ignore[misc]
        except ProviderRejected:
            word = ""  # logged; DMark has no report that can be read for this one
        statuses.record_report(message.pk, word, "poll")
        became[str(final_status(word) or Status.SENT)] += 1
    return became
