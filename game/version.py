"""The ETag of a stake's page and status: a hash of everything that decides what they say.

Players poll far more often than anything changes, so this query must be fast. Its SQL is compiled once and reused,
because the ORM takes ten times as long to compile it as the database takes to run it.
"""

from datetime import datetime, timezone
from hashlib import sha256
from typing import Any

from django.db import connection
from django.db.models import CharField, F, OuterRef, Subquery, Value
from django.db.models.functions import Cast, Concat

from game import clock
from game.models import Entry
from payments.collection import RINGING
from sms.models import SmsMessage

# Times at which the response changes. The payment prompt ends RINGING after `payment__asked_at`.
_ENDS = ("expires_at", "session__expires_at", "payment__asked_at")
# All other columns that the response depends on. Amounts, names and phone numbers are left out: they never change.
_OTHERS = (
    *("status", "reason", "opened_at", "session_id", "invite_refused", "payment__status", "payment__collection"),
    *("payment__collected_at", "payment__refunded_at", "payment__refund_due", "payment__contested", "payment__place"),
    "payment__reason",
)
# Placeholder for the entry's id in the parameters of the compiled query.
_ID = 2**62
_statements: dict[str, tuple[str, tuple[Any, ...]]] = {}


def current_tag(pk: int, *more: object) -> str:
    """Return the present ETag of an entry, or "" if the entry does not exist.

    `more`: further values that the response depends on, such as the language.
    """
    sql, parameters = _statements.get(connection.vendor) or _build()
    with connection.cursor() as cursor:
        cursor.execute(sql, tuple(pk if value == _ID else value for value in parameters))
        row = cursor.fetchone()
    if row is None:
        return ""
    expires_at, session_expires_at, asked_at = map(_moment, row[: len(_ENDS)])
    now = clock.now()
    ends = (expires_at, session_expires_at, asked_at and asked_at + RINGING)
    passed = [end is not None and end <= now for end in ends]
    return f'"{sha256(repr((more, row, passed)).encode()).hexdigest()[:24]}"'


def _build() -> tuple[str, tuple[Any, ...]]:
    key = Concat(Value("invite:"), Cast(OuterRef("pk"), CharField()))
    invite = Subquery(SmsMessage.objects.filter(dedupe_key=key).values("status")[:1])
    rows = Entry.objects.filter(pk=_ID).order_by().annotate(invite=invite).values_list(*_ENDS, *_OTHERS, F("invite"))
    _statements[connection.vendor] = rows.query.sql_with_params()
    return _statements[connection.vendor]


def _moment(value: object) -> datetime | None:
    """Return a datetime column as an aware datetime. SQLite returns naive datetimes in UTC."""
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=timezone.utc)
