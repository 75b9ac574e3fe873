"""The `DMARK_PAY_*` settings. They are read at each use, because tests override them."""

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, slots=True)
class DMarkPay:
    """The settings for requests to DMarkPay. `timeout`: seconds for one response."""

    base_url: str
    token_url: str
    username: str
    password: str
    account: str
    wallet: str
    timeout: float

    @property
    def enabled(self) -> bool:
        return bool(self.username and self.password and self.account)

    @property
    def connect_timeout(self) -> float:
        return min(5.0, self.timeout)

    @property
    def timeouts(self) -> tuple[float, float]:
        return self.connect_timeout, self.timeout

    def url(self, path: str) -> str:
        return f"{self.base_url}/{path.lstrip('/')}"


def dmarkpay() -> DMarkPay:
    return DMarkPay(
        base_url=settings.DMARK_PAY_BASE_URL.rstrip("/"),
        token_url=settings.DMARK_PAY_TOKEN_URL,
        username=settings.DMARK_PAY_USERNAME,
        password=settings.DMARK_PAY_PASSWORD,
        account=settings.DMARK_PAY_ACCOUNT_CODE,
        wallet=settings.DMARK_PAY_WALLET,
        timeout=settings.DMARK_PAY_TIMEOUT,
    )


def inline() -> bool:
    """Return True if a process that needs a request to the provider makes it itself, instead of leaving it to a
    worker.
    """
    return bool(getattr(settings, "SMS_DELIVERY", "inline") == "inline")
