"""The entity tag of a stake's page and status: a hash of the facts that decide what they say.

Players poll far more often than anything changes, so this is the one statement whose SQL is built once and kept: the
ORM takes ten times as long to build it as the database to answer.
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

# When one of these passes, the response changes. `payment__asked_at`: the end of the prompt, RINGING later.
_ENDS = ("expires_at", "session__expires_at", "payment__asked_at")
# Amounts, names and numbers never change, so they are left out.
_OTHERS = (
    *("status", "reason", "opened_at", "session_id", "invite_refused", "payment__status", "payment__collection"),
    *("payment__collected_at", "payment__refunded_at", "payment__refund_due", "payment__contested", "payment__place"),
    "payment__reason",
)
# Stands for the id in the parameters of the statement.
_ID = 2**62
_statements: dict[str, tuple[str, tuple[Any, ...]]] = {}


def current_tag(pk: int, *more: object) -> str:
    """Return the tag of an entry as of now, "" if there is none. `more`: further facts, such as the language."""
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
    """Convert a datetime from the cursor to an aware one. SQLite returns naive datetimes in UTC."""
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=timezone.utc)
