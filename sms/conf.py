"""The `SMS_*` settings with their defaults, read at each use: a project may lack any, and tests override them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

DELIVERIES = ("inline", "worker", "tasks")
_YES, _NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


@dataclass(frozen=True, slots=True)
class Config:
    """What the app works with; times in seconds."""

    base_url: str
    username: str
    password: str
    token_path: str
    send_path: str
    dlr_path: str
    connect_timeout: float
    read_timeout: float
    rate_limit: int
    token_fallback: int
    # A text that names no expiry of its own is worth sending for so long.
    life: float
    # By kind: what DMark is told as `category`.
    categories: Mapping[str, str]
    delivery: str
    lease: float
    dlr_enabled: bool
    site_url: str
    segment_cost: float

    @property
    def enabled(self) -> bool:
        return bool(self.base_url and self.username and self.password)

    @property
    def send_budget(self) -> float:
        """No further request for one text begins later than this after the first."""
        return 3 * (self.connect_timeout + self.read_timeout) + 1

    @property
    def longest_send(self) -> float:
        """The longest that one delivery can take: its budget, and the last request begun in it."""
        return self.send_budget + self.connect_timeout + 2 * self.read_timeout

    def url(self, path: str) -> str:
        return f"{self.base_url}/{path.lstrip('/')}"


def current() -> Config:
    """Raises ImproperlyConfigured, which names the setting that cannot be read."""
    return Config(
        base_url=_text("SMS_SERVICE_BASE_URL").strip().rstrip("/"),
        username=_text("SMS_SERVICE_USERNAME"),
        password=_text("SMS_SERVICE_PASSWORD"),
        token_path=_text("SMS_TOKEN_PATH", "/api/get_token/"),
        send_path=_text("SMS_SEND_PATH", "/v3/api/send_sms/"),
        dlr_path=_text("SMS_DLR_PATH", "/v3/api/dlr/"),
        connect_timeout=_seconds("SMS_CONNECT_TIMEOUT", 3),
        read_timeout=_seconds("SMS_READ_TIMEOUT", 10),
        rate_limit=_whole("SMS_RATE_LIMIT_SECONDS", 30),
        token_fallback=_whole("SMS_TOKEN_FALLBACK_SECONDS", 3000),
        life=_seconds("SMS_LIFE_SECONDS", 3600),
        categories=_pairs("SMS_CATEGORIES"),
        delivery=_delivery("SMS_DELIVERY"),
        lease=_seconds("SMS_LEASE_SECONDS", 15),
        dlr_enabled=_flag("SMS_DLR_ENABLED", default=True),
        site_url=_text("SITE_URL").rstrip("/"),
        segment_cost=_number("SMS_SEGMENT_COST_UGX", 0),
    )


def _read(name: str, default: object) -> object:
    value = getattr(settings, name, None)
    return default if value is None else value


def _text(name: str, default: str = "") -> str:
    return str(_read(name, default))


def _number(name: str, default: float) -> float:
    value = _read(name, default)
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise ImproperlyConfigured(f"{name} must be a number, 0 or more, not {value!r}.")
    return number


def _seconds(name: str, default: float) -> float:
    number = _number(name, default)
    if not number:
        raise ImproperlyConfigured(f"{name} must be more than 0 seconds.")
    return number


def _whole(name: str, default: int) -> int:
    number = _number(name, default)
    if not number.is_integer():
        raise ImproperlyConfigured(f"{name} must be a whole number, not {number:g}.")
    return int(number)


def _flag(name: str, *, default: bool) -> bool:
    value = _read(name, default)
    word = str(value).strip().lower()
    if word not in _YES + _NO:
        raise ImproperlyConfigured(f"{name} must be true or false, not {value!r}.")
    return word in _YES


def _delivery(name: str) -> str:
    value = _text(name, DELIVERIES[0]).strip().lower()
    if value not in DELIVERIES:
        raise ImproperlyConfigured(f"{name} must be {' or '.join(DELIVERIES)}, not {value!r}.")
    return value


def _pairs(name: str) -> Mapping[str, str]:
    """`kind=Category,…`, or a mapping of one to the other."""
    value = _read(name, "")
    if isinstance(value, Mapping):
        return {str(kind): str(category) for kind, category in value.items()}
    pairs = [[part.strip() for part in item.split("=", 1)] for item in str(value).split(",") if item.strip()]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise ImproperlyConfigured(f"{name} must be kind=Category, several of them comma separated, not {value!r}.")
    return {pair[0]: pair[1] for pair in pairs}
