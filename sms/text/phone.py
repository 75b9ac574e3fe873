"""Any notation of a Ugandan mobile number to E.164, and to the `0XXXXXXXXX` that DMark takes."""

import re
import unicodedata
from functools import lru_cache

import phonenumbers

from sms.errors import InvalidPhone

_NOTATION = re.compile(r"\+?[\d\s().\-/]+")
_EXAMPLE = "write it like 0772123456 or +256772123456"


def to_e164(raw: object) -> str:
    """`+256772123456` for any notation of a Ugandan mobile number. Raises InvalidPhone with one sentence."""
    if isinstance(raw, bool) or not isinstance(raw, str | int):
        raise InvalidPhone(f"The phone number must be text; {_EXAMPLE}.")
    return _read(str(raw)[:60])


@lru_cache(maxsize=1024)
def _read(raw: str) -> str:
    """One request reads the same number several times."""
    # A number copied from a contact card may carry invisible direction marks and a dash of any kind.
    text = "".join(
        "-" if unicodedata.category(char) == "Pd" else char
        for char in raw.strip()
        if unicodedata.category(char) != "Cf"
    )
    if not text:
        raise InvalidPhone(f"The phone number is missing; {_EXAMPLE}.")
    # Letters and `;ext=` would be read as digits, or vanish, in the library's hands.
    if not _NOTATION.fullmatch(text):
        raise InvalidPhone(f"The phone number has characters that no number has; {_EXAMPLE}.")
    digits = re.sub(r"\D", "", text)
    if digits.startswith("00256"):  # the prefix that phones abroad dial; Uganda's own is another
        text = "+" + digits[2:]
    try:
        number = phonenumbers.parse(text, "UG")
    except phonenumbers.NumberParseException:
        raise InvalidPhone(f"That is not a phone number; {_EXAMPLE}.") from None
    if number.country_code != 256 or not phonenumbers.is_valid_number_for_region(number, "UG"):
        raise InvalidPhone(f"That is not a Ugandan phone number; {_EXAMPLE}.")
    if phonenumbers.number_type(number) != phonenumbers.PhoneNumberType.MOBILE:
        raise InvalidPhone(f"That is not a mobile number, and only a mobile can receive a text; {_EXAMPLE}.")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def to_local(e164: str) -> str:
    """`0772123456` for `+256772123456`."""
    return "0" + e164.removeprefix("+256")
