"""What must not be read in a log or a page: links that are credentials, tokens, passwords, whole phone numbers.

The project names its own in `SMS_REDACT`, all parts optional:
`{"links": [query parameters of links in texts], "names": [names whose values are hidden], "settings": [settings
whose values are hidden wherever they stand]}`. A link's parameter is hidden in logs and on pages, and taken out of
the stored text once nobody needs it.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

HIDDEN = "[redacted]"
# What a stored text holds in place of a link's credential that nobody needs any more.
BLANKED = f"={HIDDEN}"

_NAMES = ("access_token", "authtoken", "password")
_SETTINGS = ("SMS_SERVICE_PASSWORD",)
# A value shorter than this is no secret, and would hide half of every line.
_SHORTEST_SECRET = 4
# The signature of a report's address.
_REPORT = re.compile(r"(/dlr/\d+\.)[\w-]+")
_JWT = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*")
_PHONE = re.compile(r"(?<![\w.])(\+|%2B)?(256|0)([ -]?)(\d{2})(?:[ -]?\d){4}(?:[ -]?)(\d{3})(?![\w-])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rules:
    """What is looked for. `hints` and `short`: what a line must hold to be worth the search for `keyed`."""

    secrets: tuple[str, ...]
    keyed: re.Pattern[str]
    hints: tuple[str, ...]
    short: re.Pattern[str] | None
    link: re.Pattern[str] | None


@cache
def rules() -> Rules:
    """Made once of the settings: every line of the log goes through here."""
    given: dict[str, Any] = getattr(settings, "SMS_REDACT", None) or {}
    links = tuple(given.get("links", ()))
    names = tuple(dict.fromkeys(name.casefold() for name in (*_NAMES, *links, *given.get("names", ()))))
    hints: list[str] = ["token"]
    for name in names:
        if len(name) > 3 and not any(hint in name for hint in hints):
            hints.append(name)
    short = [name for name in names if len(name) < 4]
    values = (str(getattr(settings, name, "") or "") for name in (*_SETTINGS, *given.get("settings", ())))
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
        # PostgreSQL reads this one too, and has no \b.
        link=re.compile(rf"(?<!\w)({'|'.join(map(re.escape, links))})=[^\s&]+") if links else None,
    )


def _whole(name: str) -> str:
    """A short name as a word of its own, in any case; also behind `?` and `&` as a URL in a URL has them."""
    letters = "".join(f"[{char.upper()}{char}]" if char.isalpha() else re.escape(char) for char in name)
    exact = re.escape(name)
    return rf"{letters}(?i:(?<=\b{exact})|(?<=%3f{exact})|(?<=%26{exact}))\b"


def _forget(*, setting: str, **kwargs: Any) -> None:
    rules.cache_clear()


setting_changed.connect(_forget)


def blank_link(text: str) -> str:
    """The text without the credential of its link."""
    pattern = rules().link
    return pattern.sub(rf"\1{BLANKED}", text) if pattern else text


def has_link(text: str) -> bool:
    """Whether the text holds a link that is a credential."""
    pattern = rules().link
    return pattern is not None and pattern.search(text) is not None


def mask_phone(phone: str) -> str:
    """`+256772123456` as `+25677****456`: enough to recognise, too little to call."""
    return f"{phone[:-7]}****{phone[-3:]}" if len(phone) > 9 else "****"


def redact(text: str) -> str:
    """The text with tokens, credentials and the middle of phone numbers hidden."""
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
