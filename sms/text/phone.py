"""Convert Ugandan mobile numbers from any notation to E.164, and from E.164 to the `0XXXXXXXXX` that DMark expects."""

from functools import lru_cache

import phonenumbers

from sms import conf
from sms.errors import InvalidPhone
from sms.text.notation import read_digits

_EXAMPLE = "Write it like 0772 123 456 or +256 772 123 456"
_NATIONAL_DIGITS = 9


def to_e164(raw: object) -> str:
    """Convert a Ugandan mobile number from any notation to E.164 (`+256772123456`).

    Raises InvalidPhone with a message that can be shown to the user.
    """
    try:
        digits = read_digits(raw)
    except ValueError as error:
        raise InvalidPhone(f"{error}. {_EXAMPLE}.") from None
    if digits.startswith("+256") and len(digits) == len("+256") + _NATIONAL_DIGITS:
        digits = to_local(digits)  # Both notations of a number then share one entry of the cache.
    return _mobile(digits, conf.extra_mobile_prefixes())


@lru_cache(maxsize=1024)
def _mobile(digits: str, extra_prefixes: tuple[str, ...]) -> str:
    """Return the number in E.164. The result is cached, because one request converts the same number several times."""
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
    """Return `0772123456` for `+256772123456`."""
    return "0" + e164.removeprefix("+256")
