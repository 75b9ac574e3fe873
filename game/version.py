"""The ETag of a stake's page and status: a hash of everything that decides what they say.

Players poll far more often than anything changes, so this query must be fast. Therefore it reads few columns, and its
SQL is compiled only once.
"""

from hashlib import sha256
from typing import Any

from django.db.models import CharField, F, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Cast, Concat

from game.models import Entry
from payments.collection import RINGING
from payments.statements import Select
from sms import clock
from sms.models import SmsMessage

# Times at which the response changes. The payment prompt disappears at `payment__asked_at` + RINGING.
_ENDS = ("expires_at", "session__expires_at", "payment__asked_at")
# All other columns that the response depends on. Amounts, names and phone numbers are left out: they never change.
_OTHERS = (
    *("status", "reason", "opened_at", "session_id", "invite_refused", "payment__status", "payment__collection"),
    *("payment__collected_at", "payment__refunded_at", "payment__refund_due", "payment__contested", "payment__place"),
    "payment__reason",
)


def _facts(pk: int) -> "QuerySet[Entry, tuple[Any, ...]]":
    key = Concat(Value("invite:"), Cast(OuterRef("pk"), CharField()))
    invite = Subquery(SmsMessage.objects.filter(dedupe_key=key).values("status")[:1])
    return Entry.objects.filter(pk=pk).order_by().annotate(invite=invite).values_list(*_ENDS, *_OTHERS, F("invite"))


_FACTS = Select(_facts)


def current_tag(pk: int, *more: object) -> str:
    """Return the present ETag of an entry, or "" if the entry does not exist.

    `more`: further values that the response depends on, such as the language.
    """
    row = _FACTS.first(pk=pk)
    if row is None:
        return ""
    expires_at, session_expires_at, asked_at = row[: len(_ENDS)]
    now = clock.now()
    ends = (expires_at, session_expires_at, asked_at and asked_at + RINGING)
    passed = [end is not None and end <= now for end in ends]
    return f'"{sha256(repr((more, row, passed)).encode()).hexdigest()[:24]}"'
