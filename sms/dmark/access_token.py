"""DMark's access token: cached for all processes, fetched by one caller at a time, dropped when DMark refuses it.

Whoever needs a token while another thread of this process fetches one waits for that fetch and shares its outcome, a
failure too. Cold processes may fetch one each: it lives a day.
"""

import copy
import hashlib
import logging
import math
from collections.abc import Callable
from concurrent.futures import Future

import jwt

from sms import cache, clock, conf, runtime
from sms.dmark.conversation import FetchedToken
from sms.errors import ProviderError

logger = logging.getLogger("sms.tokens")

LONGEST_TTL = 30 * 86400
_PATH_SECONDS = 2 * 86400

Fetch = Callable[[], FetchedToken]

_flights: dict[str, "Future[str]"] = {}
_flights_lock = runtime.current.lock()


def cache_key(config: conf.Config) -> str:
    secret = "\0".join((config.base_url, config.username, config.password))
    return f"sms_token:{hashlib.sha256(secret.encode()).hexdigest()[:32]}"


def expires_at(token: str) -> float | None:
    """The token's `exp`, seconds since 1970; None where none can be read."""
    try:
        value = jwt.decode(token, options={"verify_signature": False}).get("exp")
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        expires = float(value)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError):
        return None
    return expires if math.isfinite(expires) else None


def ttl(token: str, fallback: int, now: float | None = None) -> int:
    """Seconds to cache the token for: 0.9 of what its `exp` leaves; `fallback` where no `exp` can be read."""
    ends = expires_at(token)
    if ends is None:
        return max(fallback, 0)
    return max(0, min(math.floor(0.9 * (ends - (clock.time() if now is None else now))), LONGEST_TTL))


def get(fetch: Fetch, config: conf.Config, *, rejected: str = "") -> str:
    """A token that is not `rejected`. `fetch` asks DMark for one; its ProviderError is raised to all who wait."""
    key = cache_key(config)
    while not (token := cached(config, rejected)):
        with _flights_lock:
            flight = _flights.get(key)
            leads = flight is None
            if flight is None:
                flight = _flights[key] = runtime.current.future()
        if leads:
            return _lead(flight, key, fetch, rejected, config)
        failure = flight.exception()
        if failure is None and flight.result() != rejected:
            return flight.result()
        if isinstance(failure, ProviderError):
            # One exception raised in many threads would collect the tracebacks of all.
            raise copy.copy(failure)
        # The leader fetched what this caller was refused with, or died of something that was its own.
    return token


def cached(config: conf.Config, rejected: str = "") -> str:
    """The shared token, "" where there is none but the `rejected`."""
    token = cache.get(cache_key(config))
    return token if isinstance(token, str) and token != rejected else ""


def working_path(config: conf.Config) -> str:
    """The token's path that DMark knows, where it is not the one that is set; "" else."""
    path = cache.get(f"{cache_key(config)}:path")
    return path if isinstance(path, str) and path != config.token_path else ""


def _lead(flight: "Future[str]", key: str, fetch: Fetch, rejected: str, config: conf.Config) -> str:
    try:
        token = cached(config, rejected) or _fetch_and_keep(key, fetch, rejected, config)
    except BaseException as error:
        flight.set_exception(error)
        raise
    else:
        flight.set_result(token)
        return token
    finally:
        with _flights_lock:
            del _flights[key]


def _fetch_and_keep(key: str, fetch: Fetch, rejected: str, config: conf.Config) -> str:
    if rejected and cache.get(key) == rejected:
        cache.drop(key)
    token, path = fetch()
    if path != config.token_path:
        cache.put(f"{key}:path", path, _PATH_SECONDS)
        logger.warning(
            "sms.token_path: DMark knows no %s, but %s; set SMS_TOKEN_PATH=%s",
            config.token_path,
            path,
            path,
            extra={"event": "sms.token_path"},
        )
    if (seconds := ttl(token, config.token_fallback)) >= 1:
        cache.put(key, token, seconds)
    return token
