"""Payers' phone numbers: normalize, mask and format them, and find the mobile network by the prefix."""

import re

import phonenumbers
from django.conf import settings

from payments.notation import read_digits


def to_e164(value: object) -> str:
    """Return a phone number in E.164, such as `+256772123456`, from any notation. Raises ValueError if it is not a
    number.

    Numbers of other countries are accepted too.
    """
    try:
        number = phonenumbers.parse(read_digits(value), "UG")
    except (ValueError, phonenumbers.NumberParseException):
        raise ValueError("phone_number must be a phone number.") from None
    if not phonenumbers.is_possible_number(number):
        raise ValueError("phone_number must be a phone number.")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def masked(phone: str) -> str:
    """Return the number as in `+25677****456`. This is enough to recognize it, and too little to call it."""
    return f"{phone[:-7]}****{phone[-3:]}" if len(phone) > 9 else "****"


_DIGITS = re.compile(r"(?<!\d)\+?\d{9,15}(?!\d)")


def hidden(text: str) -> str:
    """Return the text with every run of 9 to 15 digits masked like a phone number."""
    return _DIGITS.sub(lambda found: masked(found[0]), text)


def spaced(phone: str) -> str:
    """Return `0772 000 001` for `+256772000001`. Numbers of other countries are returned unchanged."""
    if not (phone.startswith("+256") and len(phone) == 13):
        return phone
    return f"0{phone[4:7]} {phone[7:10]} {phone[10:]}"


def masked_spaced(phone: str) -> str:
    """Return `0772 ••• 001` for `+256772000001`, as pages show it. Other numbers are masked as in logs."""
    if not (phone.startswith("+256") and len(phone) == 13):
        return masked(phone)
    return f"0{phone[4:7]} ••• {phone[10:]}"


def network_of(phone: str) -> str:
    """Return the network of a number in E.164 by its longest prefix in NETWORK_PREFIXES; "" if no prefix matches."""
    local = "0" + phone.removeprefix("+256")
    found = [
        (len(prefix), network.lower())
        for network, prefixes in settings.NETWORK_PREFIXES.items()
        for prefix in prefixes
        if local.startswith(prefix)
    ]
    return max(found)[1] if found else ""
