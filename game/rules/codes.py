"""Match codes of private matches. A code has six characters, without I, L, O, 0 and 1, which look alike."""

import re
import secrets
from urllib.parse import unquote_plus

from django.db import IntegrityError, transaction
from django.utils.translation import gettext_noop as _

from game.models import Entry
from game.rules.limits import count_wrong_code, refuse_code_guessing
from game.rules.validation import Refused, plain
from payments.statements import Select, insert

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
LENGTH = 6
# Maximum length, in characters, of a text that is searched for a match code. A pasted invite has about half this
# length.
LONGEST_TEXT = 400
CODE_EXPIRED = _("This match code has expired.")
CODE_NOT_OPEN = _("This match is not open yet. Its creator has not paid.")

_OF_CODE = Select(lambda code: Entry.objects.filter(match_code=code).select_related("player", "payment"))

# Finds the match code in a pasted link, even if the link was percent-encoded.
_IN_LINK = re.compile(r"MATCH_CODE(?:=|%3D)(.*)")
# The word "code" in English, Luganda and Kiswahili, as used in our messages and pages.
_LABELS = {"CODE", "KOODI", "MSIMBO"}


def new_code() -> str:
    return "".join(secrets.choice(ALPHABET) for place in range(LENGTH))


def read_code(text: str) -> str:
    """Return the match code from a text that a player typed or pasted. Raise ValueError if there is none.

    Examples of accepted texts: `ABC 234`, `abc-234`, a link with `match_code=`, a sentence with one code.
    """
    text = plain(text).upper()
    if link := _IN_LINK.search(text):
        words = _words(re.split("[&#]", unquote_plus(link[1]))[0])
        found = _codes_among(words)
    else:
        words = _words(text)
        after_label = next((index + 1 for index, word in enumerate(words) if word in _LABELS), len(words))
        found = _codes_among(words[after_label:])
    if _is_code(code := "".join(words)):
        return code
    if found:
        return found[0]
    mixed = {code for code in _codes_among(words) if not code.isalpha() and not code.isdigit()}
    if len(mixed) == 1:
        return mixed.pop()
    raise ValueError(_("A match code has 6 letters and digits, like ABC234."))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text)


def _codes_among(words: list[str]) -> list[str]:
    """Return every sequence of whole words that forms a possible match code."""
    return [
        code
        for start in range(len(words))
        for end in range(start + 1, min(start + LENGTH, len(words)) + 1)
        if _is_code(code := "".join(words[start:end]))
    ]


def _is_code(text: str) -> bool:
    return len(text) == LENGTH and all(char in ALPHABET for char in text)


def give_code(entry: Entry) -> None:
    """Save the new entry with an unused match code."""
    for _attempt in range(20):
        entry.match_code = new_code()
        try:
            with transaction.atomic():
                insert([entry])
        except IntegrityError:
            if not Entry.objects.filter(match_code=entry.match_code).exists():
                raise
        else:
            return
    raise RuntimeError("No free match code found in 20 draws.")


def open_match(code: str, address: str) -> Entry:
    """Return the entry that waits in the private match with this code, or raise Refused.

    An unknown code counts towards the limit of the client `address`.
    """
    refuse_code_guessing(address)
    entry = _OF_CODE.first(code=code)
    if entry is None:
        count_wrong_code(address)
        raise Refused(404, _("No match has this code. Check it with your friend."), "match_code")
    if entry.status == Entry.Status.MATCHED:
        raise Refused(409, _("This match code has already been used."), "match_code")
    if entry.state == Entry.Status.EXPIRED or entry.payment.contested or entry.payment.refund_due:
        raise Refused(409, CODE_EXPIRED, "match_code")
    if entry.status == Entry.Status.AWAITING_PAYMENT:
        raise Refused(409, CODE_NOT_OPEN, "match_code")
    return entry


def joinable(code: str, stake_amount: int, address: str) -> Entry:
    """Return the entry that waits in the private match with this code.

    Raise Refused if the match cannot be joined or has a different stake.
    """
    entry = open_match(code, address)
    if entry.stake_amount != stake_amount:
        raise Refused(409, _("The stake of this match is %(stake)s UGX."), "stake_amount", stake=entry.stake_amount)
    return entry
