"""DMark's access token, in a cache that all processes share.

In each process, only one thread at a time fetches a token, and the other threads wait for the result. Several processes
may fetch tokens at the same time, which is harmless.
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

_fetches: dict[str, "Future[str]"] = {}
_fetches_lock = runtime.current.lock()


def cache_key(config: conf.Config) -> str:
    secret = "\0".join((config.base_url, config.username, config.password))
    return f"sms_token:{hashlib.sha256(secret.encode()).hexdigest()[:32]}"


def expires_at(token: str) -> float | None:
    """Return the token's expiry (`exp`) in seconds since 1970, or None if it cannot be read."""
    try:
        value = jwt.decode(token, options={"verify_signature": False}).get("exp")
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        expires = float(value)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError):
        return None
    return expires if math.isfinite(expires) else None


def ttl(token: str, fallback: int, now: float | None = None) -> int:
    """Return the seconds for which to cache a token: 90% of its remaining life, at most 30 days.

    `fallback`: the result for a token without a readable expiry.
    """
    ends = expires_at(token)
    if ends is None:
        return max(fallback, 0)
    return max(0, min(math.floor(0.9 * (ends - (clock.time() if now is None else now))), LONGEST_TTL))


def get(fetch: Fetch, config: conf.Config, *, rejected: str = "") -> str:
    """Return a token from the cache or from `fetch`. A cached token equal to `rejected` is not returned.

    Concurrent threads share one call of `fetch`. If `fetch` raises ProviderError, all these threads raise the error.
    """
    key = cache_key(config)
    while not (token := cached(config, rejected)):
        with _fetches_lock:
            pending = _fetches.get(key)
            is_first = pending is None
            if pending is None:
                pending = _fetches[key] = runtime.current.future()
        if is_first:
            return _fetch_for_all(pending, key, fetch, rejected, config)
        # If the other thread got the refused token again, or failed with an unexpected exception, the loop tries again.
        failure = pending.exception()
        if failure is None and pending.result() != rejected:
            return pending.result()
        if isinstance(failure, ProviderError):
            # Raise a copy. If many threads raised the same exception object, it would collect all their tracebacks.
            raise copy.copy(failure)
    return token


def cached(config: conf.Config, rejected: str) -> str:
    """Return the cached token, or "" if no token is cached or the cached token equals `rejected`."""
    token = cache.get(cache_key(config))
    return token if isinstance(token, str) and token != rejected else ""


def working_path(config: conf.Config) -> str:
    """Return the cached token path (other than SMS_TOKEN_PATH) that has worked at DMark, or "" if there is none."""
    path = cache.get(f"{cache_key(config)}:path")
    return path if isinstance(path, str) and path != config.token_path else ""


def _fetch_for_all(pending: "Future[str]", key: str, fetch: Fetch, rejected: str, config: conf.Config) -> str:
    try:
        token = cached(config, rejected) or _fetch_and_cache(key, fetch, rejected, config)
    except BaseException as error:
        pending.set_exception(error)
        raise
    else:
        pending.set_result(token)
        return token
    finally:
        with _fetches_lock:
            del _fetches[key]


def _fetch_and_cache(key: str, fetch: Fetch, rejected: str, config: conf.Config) -> str:
    if rejected and cache.get(key) == rejected:
        cache.drop(key)
    token, path = fetch()
    if path != config.token_path:
        cache.put(f"{key}:path", path, _PATH_SECONDS)
        logger.warning(
            "sms.token_path: DMark has no token at %s, but at %s; set SMS_TOKEN_PATH=%s",
            config.token_path,
            path,
            path,
            extra={"event": "sms.token_path"},
        )
    if (seconds := ttl(token, config.token_fallback)) >= 1:
        cache.put(key, token, seconds)
    return token
