"""ETags of the pages and responses that players poll. An ETag is a hash of the shown data that can change."""

from hashlib import sha256
from typing import Any

from django.db.models import F, QuerySet, Subquery

from game import keys
from game.models import Entry
from payments.collection import RINGING
from payments.statements import Select
from sms import clock
from sms.models import SmsMessage

# Columns with a time at which the response changes. For `payment__asked_at`, add RINGING: the response changes when the
# payment prompt disappears.
_ENDS = ("expires_at", "session__expires_at", "payment__asked_at")
# Other columns on which the response depends. Amounts, names and phone numbers never change, so the ETag does not need
# them.
_OTHERS = (
    *("status", "reason", "opened_at", "session_id", "invite_refused", "payment__status", "payment__collection"),
    *("payment__collected_at", "payment__refunded_at", "payment__refund_due", "payment__contested", "payment__place"),
    "payment__reason",
)


def _facts(pk: int) -> "QuerySet[Entry, tuple[Any, ...]]":
    message = SmsMessage.objects.filter(dedupe_key=keys.in_query(keys.INVITE, "pk"))
    invite = Subquery(message.values("status")[:1])
    return Entry.objects.filter(pk=pk).order_by().annotate(invite=invite).values_list(*_ENDS, *_OTHERS, F("invite"))


_FACTS = Select(_facts)


def etag(*facts: object) -> str:
    """Return an ETag that depends on the given facts."""
    return f'"{sha256(repr(facts).encode()).hexdigest()[:24]}"'


def current_tag(pk: int, *more: object) -> str:
    """Return the ETag of an entry, or "" if the entry does not exist. `more`: other data that affects the response."""
    row = _FACTS.first(pk=pk)
    if row is None:
        return ""
    expires_at, session_expires_at, asked_at = row[: len(_ENDS)]
    now = clock.now()
    ends = (expires_at, session_expires_at, asked_at and asked_at + RINGING)
    passed = [end is not None and end <= now for end in ends]
    return etag(more, row, passed)
