"""Payers' phone numbers: normalize, mask and format them, and find the mobile network by the prefix."""

import re
import unicodedata

import phonenumbers
from django.conf import settings

# The code from here to the end of `_plain` is a copy of code in `sms/text/phone.py`.
LONGEST = 60

# More characters to ignore: invisible letters, the empty braille cell, variation selectors, and the keycap frame.
_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0\u20e3") | {chr(code) for code in range(0xFE00, 0xFE10)}
_SCHEME = re.compile(r"tel:/{0,2}", re.IGNORECASE)
_NOTATION = re.compile(r"[(\[ ]*\+?[(\[ ]*[0-9][0-9 ().\-/\[\]]*")


def read_digits(raw: object) -> str:
    """Return the digits of a phone number, with a leading + if the number is international, or "" if `raw` is blank.

    Accepts brackets, spaces, dashes, dots, slashes, `tel:`, digits of any script and invisible characters. A leading
    `00` is read as +. Raises ValueError for any other character, and for more than 60 characters.
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
    """Convert a digit, space, dash or full-width character to ASCII. Return "" for an invisible character."""
    category = unicodedata.category(char)
    if category == "Cf" or char in _INVISIBLE:
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if category in ("Zs", "Zl", "Zp") or char in "\t\n\r\v\f":
        return " "
    if category == "Pd" or char == "\u2212":
        return "-"
    # NFKC converts a full-width + or bracket. Superscript and circled digits (Unicode category "No") are not converted,
    # so that `read_digits` refuses them.
    return char if category == "No" else unicodedata.normalize("NFKC", char)


def to_e164(value: object) -> str:
    """Return a phone number of any country and notation in E.164. Raises ValueError if it is not a phone number."""
    try:
        number = phonenumbers.parse(read_digits(value), "UG")
    except (ValueError, phonenumbers.NumberParseException):
        raise ValueError("phone_number must be a phone number.") from None
    if not phonenumbers.is_possible_number(number):
        raise ValueError("phone_number must be a phone number.")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def mask_phone(phone: str) -> str:
    """Return the masked number, such as `+25677****456`, or `****` if the number has at most nine characters."""
    return f"{phone[:-7]}****{phone[-3:]}" if len(phone) > 9 else "****"


_DIGITS = re.compile(r"(?<!\d)\+?\d{9,15}(?!\d)")


def hidden(text: str) -> str:
    """Return the text with every run of 9 to 15 digits masked like a phone number."""
    return _DIGITS.sub(lambda found: mask_phone(found[0]), text)


def spaced(phone: str) -> str:
    """Return `0772 000 001` for `+256772000001`. Numbers of other countries are returned unchanged."""
    if not (phone.startswith("+256") and len(phone) == 13):
        return phone
    return f"0{phone[4:7]} {phone[7:10]} {phone[10:]}"


def masked(phone: str) -> str:
    """Return `0772 ••• 001` for `+256772000001`, as pages show it. For other numbers, return `mask_phone(phone)`."""
    if not (phone.startswith("+256") and len(phone) == 13):
        return mask_phone(phone)
    return f"0{phone[4:7]} ••• {phone[10:]}"


def network_of(phone: str) -> str:
    """Return the mobile network of a number in E.164 by its longest known prefix, or "" if no prefix matches."""
    local = "0" + phone.removeprefix("+256")
    found = [
        (len(prefix), network.lower())
        for network, prefixes in settings.NETWORK_PREFIXES.items()
        for prefix in prefixes
        if local.startswith(prefix)
    ]
    return max(found)[1] if found else ""
