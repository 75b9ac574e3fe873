"""Read settings from the environment and `.env`.

An invalid value raises ImproperlyConfigured with the name of the setting.
"""

import math
import re
from pathlib import Path
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()

_TRUE, _FALSE = frozenset({"true", "yes", "y", "on", "ok", "1"}), frozenset({"false", "no", "n", "off", "0"})
_LINE = re.compile(r"(?:export )?(?P<name>[A-Za-z_][A-Za-z_0-9]*)=(?P<value>.*)")
# Finds the setting's name on an invalid line. The error shows only the name, because the rest may be a password.
_NAME = re.compile(r"\s*(?:export\s+)?([A-Z][A-Z0-9_]{2,40})\b")


def read_file(path: Path) -> None:
    """Load the settings in the file `path` into the environment. Variables that are already set are kept.

    Invalid lines are refused here, because django-environ would print them with their passwords.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return
    except UnicodeDecodeError:
        raise ImproperlyConfigured(f"{path} is not UTF-8 text.") from None
    for number, line in enumerate(lines, 1):
        if problem := _problem(line):
            name = _NAME.match(line)
            setting = name[1] if name else "a setting"
            raise ImproperlyConfigured(f"{path}, line {number}: {setting} cannot be read: {problem}.")
    environ.Env.read_env(path, encoding="utf-8-sig")


def _problem(line: str) -> str:
    """Return an explanation if this line of a `.env` file is invalid, otherwise ""."""
    if not line.strip() or line.startswith("#"):
        return ""
    match = _LINE.fullmatch(line)
    if match is None:
        return "write NAME=value, with no blanks at the start of the line or around the equals sign"
    value = match["value"].strip()
    quote = value[:1] if value[:1] in ("'", '"') else ""
    if quote and (len(value) < 2 or not value.endswith(quote)):
        return "the quotation mark at its start is not closed"
    if "\\" in value and not quote:
        return "systemd drops a backslash; put the value into single quotes"
    return ""


def text(name: str, default: str = "") -> str:
    """Return the value of a setting, or `default` if the value is empty.

    `Env.str` would treat a leading `$`, as in a password, as a reference to another variable.
    """
    return str(env.ENVIRON.get(name, "")).strip() or default


def number(name: str, default: float) -> float:
    value = text(name)
    try:
        read = float(value) if value else default
    except ValueError:
        read = math.nan
    if not math.isfinite(read):
        raise ImproperlyConfigured(f"{name} must be a number, not {value!r}.")
    return read


def whole(name: str, default: int) -> int:
    value = text(name)
    try:
        return int(value) if value else default
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.") from None


def flag(name: str, default: bool) -> bool:
    value = text(name).lower()
    if value and value not in _TRUE | _FALSE:
        raise ImproperlyConfigured(f"{name} must be true or false, not {value!r}.")
    return value in _TRUE if value else default


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = text(name, default).lower()
    if value not in allowed:
        raise ImproperlyConfigured(f"{name} must be {', '.join(allowed[:-1])} or {allowed[-1]}, not {value!r}.")
    return value


def items(name: str) -> list[str]:
    return [item.strip() for item in text(name).split(",") if item.strip()]


def lists(name: str, default: str) -> dict[str, list[str]]:
    """Read `one=a b,two=c` as {"one": ["a", "b"], "two": ["c"]}."""
    pairs = [item.partition("=") for item in text(name, default).split(",") if item.strip()]
    if any(not key.strip() or not values.split() for key, _, values in pairs):
        raise ImproperlyConfigured(f"{name} must be written like {default!r}.")
    return {key.strip(): values.split() for key, _, values in pairs}


def url(name: str, default: str, schemes: tuple[str, ...]) -> str:
    """Return a URL setting. The URL may contain a password, so no error message shows it."""
    value = text(name, default)
    if not value:
        return ""
    for part in value.split(",") if value.startswith("redis") else [value]:
        scheme, separator, rest = part.partition("://")
        if not separator or scheme not in schemes:
            known = ", ".join(f"{one}://" for one in schemes)
            raise ImproperlyConfigured(f"{name} must start with one of {known}.")
        if scheme not in ("sqlite", "unix") and not _is_readable(part, rest):
            raise ImproperlyConfigured(
                f"{name} cannot be read. Percent-encode every character of its password that is not a letter or digit: "
                "# as %23, / as %2F, ? as %3F, [ as %5B, ] as %5D, @ as %40, : as %3A, % as %25."
            )
    return value


def _is_readable(value: str, rest: str) -> bool:
    """Return False if the URL's password contains an unencoded character, such as `#` or `/`, that breaks the URL."""
    userinfo = rest.rpartition("@")[0]
    try:
        parts = urlsplit(value)
        # `parts.port` raises ValueError if the port is invalid. If there are several hosts, the database driver checks
        # their ports.
        _ = None if "," in parts.netloc else parts.port
    except ValueError:
        return False
    return not parts.fragment and not set(userinfo) & set("/?#[]")
