"""What must not be read in a log or a page: players' links, tokens, passwords, whole phone numbers."""

import re

from django.conf import settings

HIDDEN = "[redacted]"
# What stands in a stored text in place of a player's link that nobody needs any more.
BLANKED = f"pt={HIDDEN}"

_KEYED = re.compile(
    r"""(?ix)
    ( (?: \b | (?<=%3f) | (?<=%26) ) (?: pt | queue_token | player_token | access_token | authtoken | password
           | x-callback-secret | x-callback-signature ) \b
      (?: %22 | ['"] )? \s* (?: = | : | %3d | %3a ) \s* (?: %22 | ['"] )? )
    [^\s&"'<>,;}#\\]+
    """
)
# What all of those names hold; looking for these first costs a tenth, and every line of the log goes through here.
_NAMES = ("token", "password", "callback")
_PT = re.compile(r"[Pp][Tt](?i:(?<=\bpt)|(?<=%3fpt)|(?<=%26pt))\b")
# The signature of a report's address.
_REPORT = re.compile(r"(/dlr/\d+\.)[\w-]+")
_JWT = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*")
_PHONE = re.compile(r"(?<![\w.])(\+|%2B)?(256|0)([ -]?)(\d{2})(?:[ -]?\d){4}(?:[ -]?)(\d{3})(?![\w-])", re.IGNORECASE)


_LINK = re.compile(r"\bpt=[^\s&]+")


def blank_link(text: str) -> str:
    """The text without the player token of its link."""
    return _LINK.sub(BLANKED, text)


def has_link(text: str) -> bool:
    """Whether the text holds a player token in a link."""
    return _LINK.search(text) is not None


def mask_phone(phone: str) -> str:
    """`+256772123456` as `+25677****456`: enough to recognise, too little to call."""
    return f"{phone[:-7]}****{phone[-3:]}" if len(phone) > 9 else "****"


def redact(text: str) -> str:
    """The text with players' tokens, credentials and the middle of phone numbers hidden."""
    for secret in (getattr(settings, "SMS_SERVICE_PASSWORD", ""), getattr(settings, "MOMO_CALLBACK_SECRET", "")):
        if len(secret) >= 4:
            text = text.replace(secret, HIDDEN)
    folded = text.casefold()
    if any(name in folded for name in _NAMES) or _PT.search(text):
        text = _KEYED.sub(rf"\1{HIDDEN}", text)
    if "eyJ" in text:
        text = _JWT.sub(HIDDEN, text)
    if "/dlr/" in text:
        text = _REPORT.sub(rf"\1{HIDDEN}", text)
    return _PHONE.sub(r"\1\2\4****\5", text)
