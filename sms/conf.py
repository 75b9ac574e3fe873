"""The `SMS_*` settings with their defaults, read at each use: a project may lack any, and tests override them."""

from dataclasses import dataclass

from django.conf import settings

# A text that names no expiry of its own is worth sending for so long. Seconds.
DEFAULT_LIFE_SECONDS = 3600


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
    def read(name: str, default: object) -> object:
        value = getattr(settings, name, None)
        return default if value is None else value

    return Config(
        base_url=str(read("SMS_SERVICE_BASE_URL", "")).strip().rstrip("/"),
        username=str(read("SMS_SERVICE_USERNAME", "")),
        password=str(read("SMS_SERVICE_PASSWORD", "")),
        token_path=str(read("SMS_TOKEN_PATH", "/api/get_token/")),
        send_path=str(read("SMS_SEND_PATH", "/v3/api/send_sms/")),
        dlr_path=str(read("SMS_DLR_PATH", "/v3/api/dlr/")),
        connect_timeout=float(str(read("SMS_CONNECT_TIMEOUT", 3))),
        read_timeout=float(str(read("SMS_READ_TIMEOUT", 10))),
        rate_limit=int(str(read("SMS_RATE_LIMIT_SECONDS", 30))),
        token_fallback=int(str(read("SMS_TOKEN_FALLBACK_SECONDS", 3000))),
        delivery=str(read("SMS_DELIVERY", "inline")),
        lease=float(str(read("SMS_LEASE_SECONDS", 15))),
        dlr_enabled=bool(read("SMS_DLR_ENABLED", True)),
        site_url=str(read("SITE_URL", "")).rstrip("/"),
        segment_cost=float(str(read("SMS_SEGMENT_COST_UGX", 0))),
    )
