"""Reduce any notation of a phone number to its digits. `payments/phones.py` has the same code."""

import re
import unicodedata

LONGEST = 60

# Invisible characters that are neither spaces nor format characters, for example fillers and the empty braille cell.
_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0\u20e3") | {chr(code) for code in range(0xFE00, 0xFE10)}
_SCHEME = re.compile(r"tel:/{0,2}", re.IGNORECASE)
_NOTATION = re.compile(r"[(\[ ]*\+?[(\[ ]*[0-9][0-9 ().\-/\[\]]*")


def read_digits(raw: object) -> str:
    """Return the digits of a phone number, with a leading + if it is international, or "" if `raw` is blank.

    Accepts brackets, spaces, dashes, dots and slashes of any kind, digits of any script, invisible characters and
    `tel:`. A leading `00`, the international dialing prefix, is read as +. Raises ValueError for anything else, so that
    a letter or an extension is never dropped or read as a digit. Raises ValueError if `raw` has more than 60
    characters.
    """
    if isinstance(raw, bool) or not isinstance(raw, str | int):
        raise ValueError("The phone number must be text")
    text = str(raw)
    if len(text) > LONGEST:
        raise ValueError("The phone number is too long")
    text = _SCHEME.sub("", "".join(map(_plain, text)).strip(), count=1)
    if not text.strip():
        return ""
    if not _NOTATION.fullmatch(text):
        raise ValueError("Please use only digits, spaces and + in the phone number")
    digits = re.sub(r"[^0-9]", "", text)
    if "+" in text:
        return f"+{digits}"
    return f"+{digits[2:]}" if digits.startswith("00") else digits


def _plain(char: str) -> str:
    """Return the ASCII form of a digit, space, dash or full-width character, and "" for an invisible character."""
    category = unicodedata.category(char)
    if category == "Cf" or char in _INVISIBLE:
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if category in ("Zs", "Zl", "Zp") or char in "\t\n\r\v\f":
        return " "
    if category == "Pd" or char == "\u2212":
        return "-"
    # NFKC converts a full-width + or bracket. Superscript and circled digits (category No) are kept, so that they are
    # refused.
    return char if category == "No" else unicodedata.normalize("NFKC", char)
