"""The suppression list: numbers that must not be texted.

Entries have two sources. An operator's entry stops every message. A person's own STOP (by SMS or on a page) stops all
but transactional kinds, which are messages about the person's own money or order.
"""

import re

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from sms.errors import NeverTexted
from sms.models import SmsMessage, SmsSuppression

_KIND = re.compile(r"[A-Za-z0-9_.:-]{1,40}")
_transactional: set[str] = set()


def register_transactional(*kinds: str) -> None:
    """Register kinds of messages that are sent even to people who have asked to stop. Call this in an AppConfig's
    `ready`.
    """
    for kind in kinds:
        if not _KIND.fullmatch(kind):
            raise ValueError(f"A transactional kind has 1 to 40 letters, digits or _.:-, not {kind!r}.")
    _transactional.update(kinds)


def stop(phone: str, reason: str) -> bool:
    """Record a person's STOP. `phone`: E.164. Returns False if the number is already listed."""
    _, created = SmsSuppression.objects.get_or_create(
        phone=phone, defaults={"reason": reason[:200], "source": SmsSuppression.Source.STOP}
    )
    return created


def start(phone: str) -> bool:
    """Remove a person's STOP entry. An operator's entry stays. Returns False if there was no STOP entry."""
    deleted, _ = SmsSuppression.objects.filter(phone=phone, source=SmsSuppression.Source.STOP).delete()
    return bool(deleted)


def list_by_operator(phone: str, reason: str, actor: str) -> SmsSuppression:
    """Suppress all messages to a number. A person's own STOP entry becomes an operator's entry."""
    with transaction.atomic():
        entry, _ = SmsSuppression.objects.update_or_create(
            phone=phone,
            defaults={"reason": reason[:200], "actor": actor[:150], "source": SmsSuppression.Source.OPERATOR},
        )
    return entry


def refusal(phone: str, kind: str) -> NeverTexted | None:
    """Return the reason why a message of `kind` must not be sent to `phone` (E.164), or None."""
    entry = SmsSuppression.objects.filter(phone=phone).first()
    if entry is None or (entry.source == SmsSuppression.Source.STOP and kind in _transactional):
        return None
    return NeverTexted(entry.reason)


def suppressed(messages: "QuerySet[SmsMessage]") -> "QuerySet[SmsMessage]":
    """Filter `messages` to those that must not be sent, because their phone number is on the suppression list."""
    operators = SmsSuppression.objects.filter(source=SmsSuppression.Source.OPERATOR)
    stopped = Q(phone__in=SmsSuppression.objects.values("phone")) & ~Q(kind__in=_transactional)
    return messages.filter(Q(phone__in=operators.values("phone")) | stopped)


def allowed_sql(table: str) -> str:
    """Return an SQL condition that is true for rows that are not suppressed. `table`: the quoted table of messages."""
    entries = connection.ops.quote_name(SmsSuppression._meta.db_table)
    kinds = ", ".join(f"'{kind}'" for kind in sorted(_transactional))
    # `register_transactional` has checked the kinds, so they contain no quote and no placeholder.
    exempt = f" AND NOT ({entries}.source = 'stop' AND {table}.kind IN ({kinds}))" if kinds else ""
    return f"NOT EXISTS (SELECT 1 FROM {entries} WHERE {entries}.phone = {table}.phone{exempt})"  # noqa: S608
