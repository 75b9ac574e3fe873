"""The suppression list: numbers that must not be texted.

An operator's entry stops every message. A person's own STOP (by SMS or on a page) stops all messages except those about
the person's own money or order (transactional messages).
"""

import re

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from sms.errors import NeverTexted
from sms.models import SmsMessage, SmsSuppression

_KIND = re.compile(r"[A-Za-z0-9_.:-]{1,40}")
_transactional: set[str] = set()


def register_transactional(*kinds: str) -> None:
    """Register transactional kinds, whose messages are sent even after a STOP. Call this in an AppConfig's `ready`."""
    for kind in kinds:
        if not _KIND.fullmatch(kind):
            raise ValueError(f"A transactional kind has 1 to 40 letters, digits or _.:-, not {kind!r}.")
    _transactional.update(kinds)


def stop(phone: str, reason: str) -> bool:
    """Put a number on the suppression list at the person's request. `phone`: E.164. Returns False if already listed."""
    _, created = SmsSuppression.objects.get_or_create(
        phone=phone, defaults={"reason": reason[:200], "source": SmsSuppression.Source.STOP}
    )
    return created


def start(phone: str) -> bool:
    """Remove a number's entry if it comes from a STOP. Returns False if there is no such entry."""
    deleted, _ = SmsSuppression.objects.filter(phone=phone, source=SmsSuppression.Source.STOP).delete()
    return bool(deleted)


def list_by_operator(phone: str, reason: str, actor: str) -> SmsSuppression:
    """Suppress every message to a number, as an operator's decision. An entry that comes from a STOP is replaced."""
    with transaction.atomic():
        entry, _ = SmsSuppression.objects.update_or_create(
            phone=phone,
            defaults={"reason": reason[:200], "actor": actor[:150], "source": SmsSuppression.Source.OPERATOR},
        )
    return entry


def refusal(phone: str, kind: str) -> NeverTexted | None:
    """Return the reason why a message of this kind must not be sent to `phone` (E.164), or None if it may be sent."""
    entry = SmsSuppression.objects.filter(phone=phone).first()
    if entry is None or (entry.source == SmsSuppression.Source.STOP and kind in _transactional):
        return None
    return NeverTexted(entry.reason)


def suppressed(messages: "QuerySet[SmsMessage]") -> "QuerySet[SmsMessage]":
    """Filter `messages` to those that the suppression list stops."""
    operators = SmsSuppression.objects.filter(source=SmsSuppression.Source.OPERATOR)
    stopped = Q(phone__in=SmsSuppression.objects.values("phone")) & ~Q(kind__in=_transactional)
    return messages.filter(Q(phone__in=operators.values("phone")) | stopped)


def allowed_sql(table: str) -> str:
    """Return an SQL condition that is true for messages that the suppression list does not stop.

    `table`: the quoted name of the message table.
    """
    entries = connection.ops.quote_name(SmsSuppression._meta.db_table)
    kinds = ", ".join(f"'{kind}'" for kind in sorted(_transactional))
    # The kinds contain no quotes and no placeholders: `register_transactional` has checked them.
    exempt = f" AND NOT ({entries}.source = 'stop' AND {table}.kind IN ({kinds}))" if kinds else ""
    return f"NOT EXISTS (SELECT 1 FROM {entries} WHERE {entries}.phone = {table}.phone{exempt})"  # noqa: S608
