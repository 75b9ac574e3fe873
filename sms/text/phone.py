"""Convert Ugandan mobile numbers from any notation to E.164, and from E.164 to DMark's format `0XXXXXXXXX`."""

import re
import unicodedata
from functools import lru_cache

import phonenumbers

from sms import conf
from sms.errors import InvalidPhone

# The code from here to the end of `_plain` is also in `payments/phones.py`, because `sms` and `payments` import no
# other app.
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


_EXAMPLE = "Write it like 0772 123 456 or +256 772 123 456"
_NATIONAL_DIGITS = 9


def to_e164(raw: object) -> str:
    """Convert a Ugandan mobile number from any notation to E.164 (`+256772123456`).

    Raises InvalidPhone with a message for the user.
    """
    try:
        digits = read_digits(raw)
    except ValueError as error:
        raise InvalidPhone(f"{error}. {_EXAMPLE}.") from None
    if digits.startswith("+256") and len(digits) == len("+256") + _NATIONAL_DIGITS:
        digits = to_local(digits)  # Use one notation, so that the cache of `_mobile` has one entry per number.
    return _mobile(digits, conf.extra_mobile_prefixes())


@lru_cache(maxsize=1024)
def _mobile(digits: str, extra_prefixes: tuple[str, ...]) -> str:
    """Convert the digits of a number to E.164. Cached, because one request converts the same number several times."""
    if not digits:
        raise InvalidPhone(f"The phone number is missing. {_EXAMPLE}.")
    try:
        number = phonenumbers.parse(digits, "UG")
    except phonenumbers.NumberParseException:
        raise InvalidPhone(f"That is not a phone number. {_EXAMPLE}.") from None
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    national = str(number.national_number)
    if number.country_code == 256 and len(national) == _NATIONAL_DIGITS and f"0{national}".startswith(extra_prefixes):
        return e164
    if number.country_code != 256 or not phonenumbers.is_valid_number_for_region(number, "UG"):
        raise InvalidPhone(f"That is not a Ugandan phone number. {_EXAMPLE}.")
    if phonenumbers.number_type(number) != phonenumbers.PhoneNumberType.MOBILE:
        raise InvalidPhone(f"That is not a mobile number, and only a mobile can receive an SMS. {_EXAMPLE}.")
    return e164


def to_local(e164: str) -> str:
    """Convert `+256772123456` to `0772123456`."""
    return "0" + e164.removeprefix("+256")
