"""Read and check the `SMS_*` settings.

Each setting has a default. The settings are read once. Tests can override them with Django's `override_settings`.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

# The provider's name in texts for operators.
PROVIDER = "DMark"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
DELIVERIES = ("inline", "worker", "tasks")
_YES, _NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


@dataclass(frozen=True, slots=True)
class Redact:
    """The value of the setting SMS_REDACT: secrets to hide in logs, on pages and in old messages.

    `links`: query parameters whose values are hidden in links. `names`: names whose values are hidden in any text.
    `settings`: settings whose values are hidden.
    """

    links: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


def in_test_run() -> bool:
    """Return True if Django's test environment is set up, as in a test run with pytest or `manage.py test`.

    `mail.outbox` would not prove a test run, because Django's locmem e-mail backend creates it, too.
    """
    utils = sys.modules.get("django.test.utils")
    return utils is not None and hasattr(utils._TestState, "saved_data")


def host(url: str) -> str:
    """Return the host name of a URL, or "" if the URL is invalid or has no host."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or "") if parts.port != 0 else ""
    except ValueError:
        return ""


def _value(name: str, default: object) -> object:
    value = getattr(settings, name, None)
    return default if value is None else value


def _text(default: str = "", *, clean: Callable[[str], str] = str) -> Callable[[str], str]:
    def read(name: str) -> str:
        value = _value(name, default)
        if not isinstance(value, str):
            raise ImproperlyConfigured(f"{name} must be a string, not a {type(value).__name__}.")
        return clean(value)

    return read


def _path(default: str) -> Callable[[str], str]:
    def read(name: str) -> str:
        value = _text(default)(name).strip()
        if "#" in value or "://" in value or any(char.isspace() for char in value):
            raise ImproperlyConfigured(f"{name} must be a path like {default}.")
        return value

    return read


def _number(default: float, *, above_zero: bool = False) -> Callable[[str], float]:
    def read(name: str) -> float:
        value = _value(name, default)
        try:
            number = math.nan if isinstance(value, bool) else float(str(value))
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or number < 0:
            raise ImproperlyConfigured(f"{name} must be a number, 0 or more, not {value!r}.")
        if above_zero and not number:
            raise ImproperlyConfigured(f"{name} must be more than 0 seconds.")
        return number

    return read


def _seconds(default: float) -> Callable[[str], float]:
    return _number(default, above_zero=True)


def _whole(default: int) -> Callable[[str], int]:
    def read(name: str) -> int:
        number = _number(default)(name)
        if not number.is_integer():
            raise ImproperlyConfigured(f"{name} must be a whole number, not {number:g}.")
        return int(number)

    return read


def _flag(name: str) -> bool:
    """Read a boolean setting. The default is true."""
    value = _value(name, default=True)
    word = str(value).strip().lower()
    if word not in _YES + _NO:
        raise ImproperlyConfigured(f"{name} must be true or false, not {value!r}.")
    return word in _YES


def _delivery(name: str) -> str:
    value = _text(DELIVERIES[0])(name).strip().lower()
    if value not in DELIVERIES:
        raise ImproperlyConfigured(f"{name} must be {' or '.join(DELIVERIES)}, not {value!r}.")
    return value


def _pairs(name: str) -> Mapping[str, str]:
    """Read a mapping of message kinds to categories, given as a dict or as the string `kind=Category,…`."""
    value = _value(name, "")
    if isinstance(value, Mapping):
        return {str(kind): str(category) for kind, category in value.items()}
    pairs = [[part.strip() for part in item.split("=", 1)] for item in str(value).split(",") if item.strip()]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise ImproperlyConfigured(f"{name} must be kind=Category, several of them comma separated, not {value!r}.")
    return {pair[0]: pair[1] for pair in pairs}


def _suffix(name: str) -> str:
    value = _text()(name).strip()
    if value and (value[0] != "?" or "#" in value or any(char.isspace() for char in value)):
        raise ImproperlyConfigured(f"{name} must begin with ? and hold no blank or #, like ?status=%s.")
    return value


def _prefixes(name: str) -> tuple[str, ...]:
    """Read prefixes such as 0725, given as a comma-separated string, a list or a tuple."""
    value = _value(name, "")
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        parts = [value]
    prefixes = tuple(str(part).strip() for part in parts if str(part).strip())
    if not all(re.fullmatch(r"07[0-9]{1,7}", prefix) for prefix in prefixes):
        raise ImproperlyConfigured(f"{name} must be national prefixes like 0725, comma separated, not {value!r}.")
    return prefixes


def _inbound_secret(name: str) -> str:
    value = _text()(name).strip()
    if value and not re.fullmatch(r"[\w-]{16,200}", value, re.ASCII):
        raise ImproperlyConfigured(f"{name} must be 16 to 200 letters, digits, - or _, since it is part of a URL.")
    return value


def _redact(name: str) -> Redact:
    value = _value(name, {})
    known = tuple(Redact.__dataclass_fields__)
    if not isinstance(value, Mapping):
        raise ImproperlyConfigured(f"{name} must be a dict with the keys {', '.join(known)}, not {value!r}.")
    if unknown := [str(key) for key in value if key not in known]:
        raise ImproperlyConfigured(f"{name} knows the keys {', '.join(known)}, not {', '.join(unknown)}.")
    for key, names in value.items():
        if not isinstance(names, list | tuple | set) or not all(isinstance(one, str) and one for one in names):
            raise ImproperlyConfigured(f"{name}[{key!r}] must be a list of strings, not {names!r}.")
    return Redact(**{key: tuple(names) for key, names in value.items()})


def _setting(name: str, read: Callable[[str], Any]) -> Any:
    """Return a dataclass field of Config for the setting `name`. `read`: the function that reads the setting."""
    return field(metadata={"name": name, "read": read})


@dataclass(frozen=True, slots=True)
class Config:
    """The values of the `SMS_*` settings and of SITE_URL. Durations are in seconds."""

    base_url: str = _setting("SMS_SERVICE_BASE_URL", _text(clean=lambda url: url.strip().rstrip("/")))
    username: str = _setting("SMS_SERVICE_USERNAME", _text())
    password: str = _setting("SMS_SERVICE_PASSWORD", _text())
    token_path: str = _setting("SMS_TOKEN_PATH", _path("/api/get_token/"))
    send_path: str = _setting("SMS_SEND_PATH", _path("/v3/api/send_sms/"))
    dlr_path: str = _setting("SMS_DLR_PATH", _path("/v3/api/dlr/"))
    connect_timeout: float = _setting("SMS_CONNECT_TIMEOUT", _seconds(3))
    read_timeout: float = _setting("SMS_READ_TIMEOUT", _seconds(10))
    rate_limit: int = _setting("SMS_RATE_LIMIT_SECONDS", _whole(30))
    token_fallback: int = _setting("SMS_TOKEN_FALLBACK_SECONDS", _whole(3000))
    life: float = _setting("SMS_LIFE_SECONDS", _seconds(3600))
    categories: Mapping[str, str] = _setting("SMS_CATEGORIES", _pairs)
    delivery: str = _setting("SMS_DELIVERY", _delivery)
    lease: float = _setting("SMS_LEASE_SECONDS", _seconds(15))
    dlr_enabled: bool = _setting("SMS_DLR_ENABLED", _flag)
    dlr_url_suffix: str = _setting("SMS_DLR_URL_SUFFIX", _suffix)
    site_url: str = _setting("SITE_URL", _text(clean=lambda url: url.rstrip("/")))
    extra_mobile_prefixes: tuple[str, ...] = _setting("SMS_EXTRA_MOBILE_PREFIXES", _prefixes)
    inbound_secret: str = _setting("SMS_INBOUND_SECRET", _inbound_secret)
    segment_cost: float = _setting("SMS_SEGMENT_COST_UGX", _number(0))
    redact: Redact = _setting("SMS_REDACT", _redact)

    @property
    def configured(self) -> bool:
        return bool(self.base_url and self.username and self.password)

    @property
    def enabled(self) -> bool:
        """True if SMS is configured. In a test run the base URL must also be local, so that no real SMS is sent."""
        return self.configured and (not in_test_run() or host(self.base_url) in LOOPBACK)

    @property
    def disabled_because(self) -> str:
        """The reason why SMS is disabled and what to do about it, or "" if SMS is enabled."""
        if self.enabled:
            return ""
        if self.configured:
            return (
                "SMS is disabled in this test run, because SMS_SERVICE_BASE_URL is not on this machine: use texts() or "
                "sandbox() of sms.testing."
            )
        return "SMS is disabled: set SMS_SERVICE_BASE_URL, SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD."

    @property
    def send_budget(self) -> float:
        """Time limit in seconds for one attempt to send a message. After this time, no send request begins."""
        return 3 * (self.connect_timeout + self.read_timeout) + 1

    @property
    def longest_send(self) -> float:
        """Longest time in seconds from the first request of an attempt to the end of its last send request."""
        return self.send_budget + self.connect_timeout + 2 * self.read_timeout

    def url(self, path: str) -> str:
        return f"{self.base_url}/{path.lstrip('/')}"

    @property
    def base_url_problem(self) -> str:
        """The reason why the base URL must not be used, or "". The text omits the URL, which may contain a password."""
        if "#" in self.base_url or "?" in self.base_url:
            return (
                "SMS_SERVICE_BASE_URL holds a # or a ?, so requests would go to another address. "
                "Write it like https://sms.example.com; in a password write %23 for # and %3F for ?."
            )
        if not self.base_url.lower().startswith(("http://", "https://")) or not host(self.base_url):
            return "SMS_SERVICE_BASE_URL is not a valid URL. Write it like https://sms.example.com."
        return ""

    @property
    def shown_base_url(self) -> str:
        """The base URL without user name and password, for terminal output and logs."""
        return re.sub(r"//[^/]*@", "//", self.base_url)


@cache
def current() -> Config:
    """Return all settings. Raises ImproperlyConfigured for the first setting with an invalid value."""
    return Config(**{one.name: one.metadata["read"](one.metadata["name"]) for one in fields(Config)})


def _forget(**_: Any) -> None:
    current.cache_clear()
    extra_mobile_prefixes.cache_clear()


setting_changed.connect(_forget)


def problems() -> list[str]:
    """Return one sentence for each setting with an invalid value."""
    found = []
    for one in fields(Config):
        try:
            one.metadata["read"](one.metadata["name"])
        except ImproperlyConfigured as error:
            found.append(str(error))
    return found


def redact() -> Redact:
    """Return the value of SMS_REDACT. If it is invalid, return an empty Redact, so that logging continues.

    `problems` reports the invalid value.
    """
    try:
        return _redact("SMS_REDACT")
    except ImproperlyConfigured:
        return Redact()


@cache
def extra_mobile_prefixes() -> tuple[str, ...]:
    """Return SMS_EXTRA_MOBILE_PREFIXES. Raises ImproperlyConfigured if the value is invalid."""
    return _prefixes("SMS_EXTRA_MOBILE_PREFIXES")
