"""HTTP client for DMarkPay. It implements `payments.providers.Provider`."""

import base64
import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.core.cache import cache

from payments.providers import Answer, Order, Said
from payments.providers.dmarkpay.responses import Token, read_collect, read_payout, read_status, read_token
from payments.providers.http import NoResponse, get, post

logger = logging.getLogger("payments.dmarkpay")

_WHO = "DMarkPay"
# The payment method and the wallet of each mobile network that DMarkPay serves.
_NETWORKS = {"mtn": ("mtn_mobile_money", "mtn"), "airtel": ("airtel_mobile_money", "airtel_oapi")}
# Only one thread of a process requests a token at a time. Afterwards the other threads find the token in the cache.
_fetching = threading.Lock()


@dataclass(frozen=True, slots=True)
class Config:
    """The `DMARK_PAY_*` settings. `timeout`: seconds for one HTTP request."""

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


def config() -> Config:
    """Return the current settings. They are read at each call, so that tests can override them."""
    return Config(
        base_url=settings.DMARK_PAY_BASE_URL.rstrip("/"),
        token_url=settings.DMARK_PAY_TOKEN_URL,
        username=settings.DMARK_PAY_USERNAME,
        password=settings.DMARK_PAY_PASSWORD,
        account=settings.DMARK_PAY_ACCOUNT_CODE,
        wallet=settings.DMARK_PAY_WALLET,
        timeout=settings.DMARK_PAY_TIMEOUT,
    )


class _NoToken(Exception):
    """No token was obtained, or it arrived too late, so the request was not made."""


class DMarkPay:
    """A client for DMarkPay. The settings are read when the client is created."""

    name = "dmarkpay"
    networks = frozenset(_NETWORKS)

    def __init__(self) -> None:
        self.config = config()

    @property
    def longest(self) -> float:
        """Return the longest duration of one call, in seconds.

        A call makes at most four HTTP requests, two of them for a token. Each request is allowed more than its timeout,
        because the operating system can add delays.
        """
        return 4 * (self.config.connect_timeout + 2 * self.config.timeout)

    def collect(self, order: Order) -> Answer:
        return self._move(order, "payin/", {"notify_url": order.notify_url}, read_collect)

    def payout(self, order: Order) -> Answer:
        """Request a payout.

        Unconfirmed: we know of no program that has used this request with DMarkPay.
        """
        return self._move(order, "payout/", {}, read_payout)

    def status(self, provider_id: str) -> Answer:
        started = time.monotonic()
        url = self._transactions(f"{quote(provider_id, safe='')}/")
        try:
            status, raw = self._with_token(lambda headers: get(_WHO, url, self.config.timeouts, headers))
        except (_NoToken, NoResponse) as error:
            return Answer(Said.IN_DOUBT, words=str(error), ms=_ms(started))
        return replace(read_status(status, raw), ms=_ms(started))

    def _move(self, order: Order, path: str, more: dict[str, str], read: Callable[[int, bytes, str], Answer]) -> Answer:
        """Make a request that moves money. After a 401 or 403 it is made once more, with a new token."""
        started = time.monotonic()
        url, body = self._transactions(path), self._body(order) | more
        try:
            status, raw = self._with_token(lambda headers: post(_WHO, url, self.config.timeouts, headers, json=body))
        except _NoToken as error:
            return Answer(Said.NOT_TAKEN, words=str(error), ms=_ms(started))
        except NoResponse as error:
            said = Said.IN_DOUBT if error.request_written else Said.NOT_TAKEN
            return Answer(said, words=str(error), ms=_ms(started))
        return replace(read(status, raw, order.reference), ms=_ms(started))

    def _transactions(self, rest: str) -> str:
        account = quote(self.config.account, safe="")
        return self.config.url(f"/api/v1/accounts/{account}/transactions/{rest}")

    def _body(self, order: Order) -> dict[str, str]:
        method, wallet = _NETWORKS.get(order.network, (order.network, self.config.wallet))
        return {
            "wallet": self.config.wallet if self.config.wallet == "dmark" else wallet,
            "payment_method": method,
            "msisdn": order.phone.removeprefix("+"),
            "description": order.description,
            "amount": f"{order.amount}.00",
            "sp_transaction_id": order.reference,
        }

    def _with_token(self, exchange: Callable[[dict[str, str]], tuple[int, bytes]]) -> tuple[int, bytes]:
        """Make a request with the cached token. After a 401 or 403, repeat it once with a new token."""
        started = time.monotonic()
        token = self._token(rejected="")
        self._check_time(started)
        response = exchange({"Authorization": f"Bearer {token}"})
        if response[0] not in (401, 403):
            return response
        fresh = self._token(rejected=token)
        self._check_time(started)
        return exchange({"Authorization": f"Bearer {fresh}"})

    def _check_time(self, started: float) -> None:
        """Raise _NoToken if more than 75% of `longest` has passed since `started`.

        After that time, a request could outlast the lease on the payment.
        """
        if time.monotonic() - started > 0.75 * self.longest:
            raise _NoToken("No token arrived in time.")

    def _token(self, rejected: str) -> str:
        config = self.config
        secret = "\0".join((config.base_url, config.token_url, config.username, config.password))
        key = f"dmarkpay_token:{hashlib.sha256(secret.encode()).hexdigest()[:32]}"
        if (token := _cached(key)) and token != rejected:
            return token
        with _fetching:
            if (token := _cached(key)) and token != rejected:
                return token
            if rejected:
                _cache("drop the token", lambda: cache.delete(key))
            fetched = self._fetch_token()
            if fetched.seconds >= 1:
                _cache("store the token", lambda: cache.set(key, fetched.value, fetched.seconds))
            return fetched.value

    def _fetch_token(self) -> Token:
        config = self.config
        credentials = base64.b64encode(f"{config.username}:{config.password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}"}
        form = {"grant_type": "client_credentials"}
        try:
            status, raw = post(_WHO, config.url(config.token_url), config.timeouts, headers, form=form)
        except NoResponse as error:
            raise _NoToken(f"No token: {error}") from None
        token = read_token(status, raw)
        if isinstance(token, str):
            logger.error("payments.no_token: %s", token, extra={"event": "payments.no_token", "http_status": status})
            raise _NoToken(token)
        return token


def configured() -> DMarkPay | None:
    """Return the client, or None if its settings are incomplete."""
    client = DMarkPay()
    return client if client.config.enabled else None


def _ms(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


# If the cache is down, a new token is requested before each request to DMarkPay.


def _cache(action: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    # The exception depends on the cache backend. A cache error must never make a payment fail.
    except Exception as error:  # noqa: BLE001
        values = {"event": "payments.cache_down"}
        logger.warning("payments.cache_down: the cache did not %s (%s)", action, type(error).__name__, extra=values)
        return None


def _cached(key: str) -> str:
    token = _cache("return the token", lambda: cache.get(key))
    return token if isinstance(token, str) else ""
