"""Keys of the game's messages, match results and journal events.

The key of a message (its dedupe key) is `<owner>:<id>` or `<owner>:<id>:<rest>`. Stored rows contain these keys, so
their form must not change.
"""

from django.db.models import CharField, OuterRef, Value
from django.db.models.functions import Cast, Concat

# The owners in the keys of messages: what a message is about. `game/apps.py` registers the owners with the `sms` app.
SESSION, PAYMENT, INVITE, LINK = "session", "payment", "invite", "link"


def match_found(session_id: int | None, player_id: int) -> str:
    return f"{SESSION}:{session_id}:{player_id}"


def payment(payment_id: int, subject: str) -> str:
    """Return the key of a message about a payment.

    `subject`: the payment's status in lower case, or a word such as `refunded`.
    """
    return f"{PAYMENT}:{payment_id}:{subject}"


def invite(entry_id: int) -> str:
    return f"{INVITE}:{entry_id}"


def own_link(entry_id: int, number: int | str) -> str:
    """Return the dedupe key of the message *Text me my link*. `number`: 1 for the first such message about a stake."""
    return f"{LINK}:{entry_id}:{number}"


def result(session_id: int) -> str:
    """Return the key of the result of a match."""
    return f"{SESSION}:{session_id}"


def matched(session_id: int | None) -> str:
    """Return the key of the events "matched" of a match. The events of both payments have the same key."""
    return f"{SESSION}:{session_id}:matched"


def in_query(owner: str, column: str) -> Concat:
    """Return an SQL expression for the key `<owner>:<id>` in a subquery.

    `column`: the column of the outer query that contains the id.
    """
    return Concat(Value(f"{owner}:"), Cast(OuterRef(column), CharField()))


def id_in(key: str | None) -> int:
    """Return the id in the key of a message, or 0 if the key is missing or contains no id."""
    parts = (key or "").split(":")
    return int(parts[1]) if len(parts) > 1 and parts[1].isascii() and parts[1].isdigit() and len(parts[1]) < 19 else 0


def subject_in(key: str | None) -> str:
    """Return the last part of the key of a message, such as `success`."""
    return (key or "").rpartition(":")[2]
