"""Hide secrets in logs and on pages: tokens, passwords, phone numbers, and the credentials in links.

The credential in a link is also removed from the stored message after delivery or expiry. A project adds its own
secrets with the setting `SMS_REDACT` (see `sms.conf.Redact`).
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

from sms import conf

HIDDEN = "[redacted]"
# Text that replaces the credential of a link in a stored message, after delivery or expiry.
BLANKED = f"={HIDDEN}"

_NAMES = ("access_token", "authtoken", "password")
_SETTINGS = ("SMS_SERVICE_PASSWORD", "SMS_INBOUND_SECRET")
# A value with fewer characters than this is not hidden as a secret, because it may be part of a normal word.
_SHORTEST_SECRET = 4
# Finds the signature in the URL of a delivery report.
_REPORT = re.compile(r"(/dlr/\d+\.)[\w-]+")
_JWT = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*")
_PHONE = re.compile(r"(?<![\w.])(\+|%2B)?(256|0)([ -]?)(\d{2})(?:[ -]?\d){4}(?:[ -]?)(\d{3})(?![\w-])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rules:
    """The secret values from the settings, and the patterns that find other secrets.

    `keyed` finds secrets after a name such as `password=`. It is slow, so it is used only if the text contains one of
    `hints` or matches `short`.
    """

    secrets: tuple[str, ...]
    keyed: re.Pattern[str]
    hints: tuple[str, ...]
    short: re.Pattern[str] | None
    link: re.Pattern[str] | None


@cache
def rules() -> Rules:
    """Return the rules of redaction, built from the settings. They are cached, because every log line is redacted."""
    own = conf.redact()
    names = tuple(dict.fromkeys(name.casefold() for name in (*_NAMES, *own.links, *own.names)))
    hints: list[str] = ["token"]
    for name in names:
        if len(name) > 3 and not any(hint in name for hint in hints):
            hints.append(name)
    short = [name for name in names if len(name) < 4]
    values = (str(getattr(settings, name, "") or "") for name in (*_SETTINGS, *own.settings))
    return Rules(
        secrets=tuple(value for value in values if len(value) >= _SHORTEST_SECRET),
        keyed=re.compile(
            rf"""(?ix)
            ( (?: \b | (?<=%3f) | (?<=%26) ) (?: {" | ".join(map(re.escape, names))} ) \b
              (?: %22 | ['"] )? \s* (?: = | : | %3d | %3a ) \s* (?: %22 | ['"] )? )
            [^\s&"'<>,;}}#\\]+
            """
        ),
        hints=tuple(hints),
        short=re.compile("|".join(map(_whole, short))) if short else None,
        # `blank_links` gives this pattern to PostgreSQL, which does not support \b. So the pattern begins with (?<!\w).
        link=re.compile(rf"(?<!\w)({'|'.join(map(re.escape, own.links))})=[^\s&]+") if own.links else None,
    )


def _whole(name: str) -> str:
    """Return a case-insensitive pattern that finds a short name as a whole word.

    The name may follow a URL-encoded `?` or `&`.
    """
    letters = "".join(f"[{char.upper()}{char}]" if char.isalpha() else re.escape(char) for char in name)
    exact = re.escape(name)
    return rf"{letters}(?i:(?<=\b{exact})|(?<=%3f{exact})|(?<=%26{exact}))\b"


def _forget(*, setting: str, **kwargs: Any) -> None:
    rules.cache_clear()


setting_changed.connect(_forget)


def blank_link(text: str) -> str:
    """Replace the credentials in the links of a text with "[redacted]"."""
    pattern = rules().link
    return pattern.sub(rf"\1{BLANKED}", text) if pattern else text


def has_link(text: str) -> bool:
    """Return True if a link in the text contains a credential."""
    pattern = rules().link
    return pattern is not None and pattern.search(text) is not None


def mask_phone(phone: str) -> str:
    """Mask `+256772123456` as `+25677****456`."""
    return f"{phone[:-7]}****{phone[-3:]}" if len(phone) > 9 else "****"


def redact(text: str) -> str:
    """Hide tokens, other credentials, and the middle digits of phone numbers in a text."""
    known = rules()
    for secret in known.secrets:
        text = text.replace(secret, HIDDEN)
    folded = text.casefold()
    if any(hint in folded for hint in known.hints) or (known.short and known.short.search(text)):
        text = known.keyed.sub(rf"\1{HIDDEN}", text)
    if "eyJ" in text:
        text = _JWT.sub(HIDDEN, text)
    if "/dlr/" in text:
        text = _REPORT.sub(rf"\1{HIDDEN}", text)
    return _PHONE.sub(r"\1\2\4****\5", text)
