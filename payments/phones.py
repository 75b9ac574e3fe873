"""Payers' numbers: any notation read, masked, and the network that a prefix hints at."""

import phonenumbers
from django.conf import settings


def to_e164(value: object) -> str:
    """`+256772123456` for any notation of a number, of another country too. Raises ValueError where it is none."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or len(text) > 40 or not text.isprintable():
        raise ValueError("phone_number must be a phone number.")
    text = text.strip()
    if text.startswith("00"):  # the prefix that phones abroad dial; Uganda's own is another
        text = "+" + text[2:]
    try:
        number = phonenumbers.parse(text, "UG")
    except phonenumbers.NumberParseException:
        raise ValueError("phone_number must be a phone number.") from None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def masked(phone: str) -> str:
    """`+25677****456`: enough to recognise, too little to call."""
    return f"{phone[:-7]}****{phone[-3:]}" if len(phone) > 9 else "****"


def network_of(phone: str) -> str:
    """`mtn` or `airtel` by the prefix of a number in E.164, as NETWORK_PREFIXES has them; "" for an unknown one."""
    local = "0" + phone.removeprefix("+256")
    for network, prefixes in settings.NETWORK_PREFIXES.items():
        if local.startswith(tuple(prefixes)):
            return network.lower()
    return ""
