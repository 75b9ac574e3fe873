"""The reason why a payment failed, read from the provider's sentence.

`game/pages/waiting.py` has the sentence that the player reads for each reason.
"""

import re
from enum import Enum


class Decline(Enum):
    BALANCE_OR_LIMIT = "low balance, or a limit of the account"
    BALANCE = "low balance"
    PIN = "wrong PIN"
    REFUSED = "declined on the phone"
    LATE = "not approved in time"
    LIMIT = "a limit of the account"
    NO_ACCOUNT = "no account that can pay"
    OTHER = "a sentence that matches no pattern"


# Regular expressions that are searched in the provider's sentence. The first match decides.
_PATTERNS = (
    (r"low balance or|limit reached", Decline.BALANCE_OR_LIMIT),
    (r"insufficient|not enough|balance", Decline.BALANCE),
    (r"\bpin\b", Decline.PIN),
    (r"declin|reject|cancel|denied", Decline.REFUSED),
    (r"time ?out|timed out|expired|no response|not answer", Decline.LATE),
    (r"limit|maximum|exceed", Decline.LIMIT),
    (r"not registered|unknown subscriber|not found|inactive|not active|barred|blocked", Decline.NO_ACCOUNT),
)


def read_decline(sentence: str) -> Decline:
    words = sentence.casefold().replace("_", " ")
    return next((decline for pattern, decline in _PATTERNS if re.search(pattern, words)), Decline.OTHER)
