"""Check input from players: amounts in whole UGX, and display names."""

import re
import unicodedata

from django.conf import settings
from django.utils.translation import gettext_noop as _

from game.wording import Sentence

MAX_NAME = 50


class Refused(Exception):
    """Raised if the rules do not allow a request.

    `status`: the HTTP status. `field`: the name of the wrong input, or "". `retry_after`: seconds.
    """

    def __init__(
        self, status: int, sentence: str, field: str = "", retry_after: int | None = None, **values: object
    ) -> None:
        self.status, self.field, self.retry_after = status, field, retry_after
        self.sentence = Sentence(sentence, values)
        self.message = str(self.sentence)
        super().__init__(self.message)

    def translated(self) -> str:
        return self.sentence.translated()


def check_amount(stake_amount: int) -> None:
    """Raise Refused (400) if the stake is less than MIN_STAKE_AMOUNT or more than MAX_STAKE_AMOUNT."""
    if not settings.MIN_STAKE_AMOUNT <= stake_amount <= settings.MAX_STAKE_AMOUNT:
        raise Refused(
            400,
            _("The stake must be from %(least)s to %(most)s UGX."),
            "stake_amount",
            least=settings.MIN_STAKE_AMOUNT,
            most=settings.MAX_STAKE_AMOUNT,
        )


def payable(stake_amount: int) -> int:
    """Return the amount that the player pays: the stake plus COMMISSION_FLAT."""
    return stake_amount + int(settings.COMMISSION_FLAT)


def prize(stake_amount: int) -> int:
    return 2 * stake_amount


_CURRENCY = r"(?:UGX|USHS?|SHS?)\.?"
_AMOUNT = re.compile(
    rf"(?:{_CURRENCY} ?)?(\d{{1,3}}(?:,\d{{3}})+|\d{{1,3}}(?: \d{{3}})+|\d{{1,12}})(?: ?/[=-])?(?: ?{_CURRENCY})?",
    re.IGNORECASE | re.ASCII,
)


def read_amount(text: str) -> int:
    """Return the amount that a player typed, in whole UGX. Raise ValueError if the text is not an amount.

    Examples of accepted texts: `5000`, `5,000 UGX`, `5 000/=`.
    """
    found = _AMOUNT.fullmatch(plain(text))
    if found is None:
        raise ValueError(_("Enter the stake in whole UGX, like 5000 or 5,000."))
    return int(re.sub("[ ,]", "", found[1]))


# Characters that count as letters or symbols but look empty.
_BLANK = "\u115f\u1160\u2800\u3164\uffa0"
_ZERO_WIDTH_JOINER = "\u200d"
# Real names have at most two accents per letter. More accents would cover the lines above and below.
_MOST_MARKS = 2


def read_name(text: str) -> str:
    """Return a display name without characters that could mislead a reader, such as invisible characters.

    The third and all further accents of a letter are removed too. Raises ValueError for control characters.
    """
    if has_control(text):
        raise ValueError(_("Please remove special characters from the name."))
    kept = ""
    marks = 0
    for char in unicodedata.normalize("NFC", text):
        category = unicodedata.category(char)
        marks = marks + 1 if category in ("Mn", "Me", "Mc") else 0
        joins_emoji = char == _ZERO_WIDTH_JOINER and kept[-1:] and unicodedata.category(kept[-1]) in ("So", "Sk", "Mn")
        if category[0] == "Z":
            kept += " "
        elif joins_emoji or (category[0] != "C" and char not in _BLANK and marks <= _MOST_MARKS):
            kept += char
    return " ".join(kept.split())


def has_control(text: str) -> bool:
    """Return True if the text contains a control character or a lone surrogate."""
    return any(unicodedata.category(char) in ("Cc", "Cs") for char in text)


def plain(text: str) -> str:
    """Return the text with full-width characters as ASCII, without invisible characters, and with single spaces."""
    visible = (char for char in text if unicodedata.category(char) != "Cf")
    return " ".join("".join(chr(ord(char) - 0xFEE0) if "！" <= char <= "～" else char for char in visible).split())
