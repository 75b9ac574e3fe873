"""The reason why a payment failed, read from the provider's sentence.

`game/pages/waiting.py` has the sentence that the player reads for each reason.
"""

import re
from enum import Enum


class Decline(Enum):
    """The reason why a payment failed.

    The value is a regular expression for the provider's sentence. The first reason that matches is used.
    """

    BALANCE_OR_LIMIT = r"low balance or|limit reached"
    BALANCE = r"insufficient|not enough|balance"
    PIN = r"\bpin\b"
    REFUSED = r"declin|reject|cancel|denied"
    LATE = r"time ?out|timed out|expired|no response|not answer"
    LIMIT = r"limit|maximum|exceed"
    NO_ACCOUNT = r"not registered|unknown subscriber|not found|inactive|not active|barred|blocked"


def read_decline(sentence: str) -> Decline | None:
    """Return the reason for the failure in the provider's sentence, or None if no regular expression matches."""
    words = sentence.casefold().replace("_", " ")
    return next((decline for decline in Decline if re.search(decline.value, words)), None)
