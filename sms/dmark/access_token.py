"""DMark's access token: cached for all processes, fetched by one caller at a time, dropped when DMark refuses it.

Whoever needs a token while another fetches one waits for that fetch and shares its outcome, a failure too.
Within a process the callers wait for one `Future`; between processes a lock key in the cache decides, which its
holder renews while it lives, so that one that died delays the others by LOCK_SECONDS at most.
"""

import copy
import hashlib
import math
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future

import jwt

from sms import cache, conf
from sms.errors import AuthenticationFailed, ProviderError, ProviderRejected, ProviderUnavailable

LOCK_SECONDS = 3
LONGEST_TTL = 30 * 86400

Fetch = Callable[[], str]

_flights: dict[str, "Future[str]"] = {}
_flights_lock = threading.Lock()
_remembered: dict[str, tuple[str, float]] = {}
# By name in the cache, so that a failure can be rebuilt by the processes that waited for it.
_FAILURES: dict[str, type[ProviderError]] = {
    error.__name__: error for error in (AuthenticationFailed, ProviderRejected, ProviderUnavailable)
}


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
    expires = expires_at(token)
    if expires is None:
        return max(fallback, 0)
    left = 0.9 * (expires - (time.time() if now is None else now))
    return max(0, min(math.floor(left), LONGEST_TTL))


def get(fetch: Fetch, config: conf.Config | None = None, *, rejected: str = "", remember: float = 0.0) -> str:
    """A token that is not `rejected`. `fetch` asks DMark for one; its ProviderError is raised to all who wait.

    `remember`: seconds for which this process may use the token without asking the cache.
    """
    config = config or conf.current()
    key = cache_key(config)
    if remember:
        token, until = _remembered.get(key, ("", 0.0))
        if token and token != rejected and time.monotonic() < until:
            return token
    token = _cached(key, rejected) or _shared_flight(key, fetch, rejected, config)
    if remember:
        _remembered[key] = (token, time.monotonic() + remember)
    return token


def forget() -> None:
    """Drop what this process remembers beside the cache."""
    _remembered.clear()


def _cached(key: str, rejected: str) -> str:
    token = cache.get(key)
    return token if isinstance(token, str) and token != rejected else ""


def _shared_flight(key: str, fetch: Fetch, rejected: str, config: conf.Config) -> str:
    while True:
        with _flights_lock:
            flight = _flights.get(key)
            leads = flight is None
            if flight is None:
                flight = _flights[key] = Future()
        if leads:
            try:
                token = _fetch_alone(key, fetch, rejected, config)
            except BaseException as error:
                flight.set_exception(error)
                raise
            else:
                flight.set_result(token)
                return token
            finally:
                with _flights_lock:
                    del _flights[key]
        failure = flight.exception()
        if failure is None and flight.result() != rejected:
            return flight.result()
        if isinstance(failure, ProviderError):
            # One exception raised in many threads would collect the tracebacks of all.
            raise copy.copy(failure)
        # The leader fetched what this caller was refused with, or died of something that was its own.


def _fetch_alone(key: str, fetch: Fetch, rejected: str, config: conf.Config) -> str:
    """The fetch itself, by one process at a time where the cache is shared."""
    lock, failure, me = f"{key}:lock", f"{key}:failure", uuid.uuid4().hex
    # None: the cache is down, so nobody can be waited for.
    while (taken := cache.add(lock, me, LOCK_SECONDS)) is False:
        holder = cache.get(lock)
        while holder is not None and cache.get(lock) == holder:
            time.sleep(0.02)
        if token := _cached(key, rejected):
            return token
        if holder is not None and (error := _read_failure(cache.get(failure), holder)):
            raise error
    stop = threading.Event()
    if taken:
        threading.Thread(target=_hold, args=(lock, stop), name="sms-token-lock", daemon=True).start()
    try:
        return _cached(key, rejected) or _fetch_and_keep(key, fetch, rejected, config)
    except ProviderError as error:
        if taken:
            cache.put(failure, _write_failure(error, me), 2 * LOCK_SECONDS)
        raise
    finally:
        stop.set()
        if taken and cache.get(lock) == me:
            cache.drop(lock)


def _fetch_and_keep(key: str, fetch: Fetch, rejected: str, config: conf.Config) -> str:
    if rejected and cache.get(key) == rejected:
        cache.drop(key)
    token = fetch()
    if (seconds := ttl(token, config.token_fallback)) >= 1:
        cache.put(key, token, seconds)
    return token


def _hold(lock: str, stop: threading.Event) -> None:
    while not stop.wait(LOCK_SECONDS / 3):
        cache.keep(lock, LOCK_SECONDS)


def _write_failure(error: ProviderError, by: str) -> dict[str, object]:
    return {
        "by": by,
        "error": type(error).__name__,
        "message": str(error),
        "status_code": error.status_code,
        "retry_after": getattr(error, "retry_after", None),
    }


def _read_failure(record: object, holder: str) -> ProviderError | None:
    if not isinstance(record, dict) or record.get("by") != holder:
        return None
    error = _FAILURES[record["error"]](record["message"], record["status_code"])
    if isinstance(error, ProviderUnavailable):
        error.retry_after = record["retry_after"]
    return error
