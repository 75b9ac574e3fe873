"""The access token: how long it is cached, and one request for many threads."""

import os
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from django.core.cache import cache
from hypothesis import given
from hypothesis import strategies as st

from sms import conf
from sms.dmark import access_token
from sms.dmark.conversation import FetchedToken
from sms.errors import AuthenticationFailed, ProviderUnavailable
from tests.conftest import RedisServer, Sandbox, wait_for
from tests.preloaded import Process

KEY = "k" * 40


PATH = "/api/get_token/"


def get(fetch: Callable[[], str], rejected: str = "") -> str:
    return access_token.get(lambda: FetchedToken(fetch(), PATH), conf.current(), rejected=rejected)


def token(**claims: Any) -> str:
    return jwt.encode(claims, KEY, algorithm="HS256")


@pytest.mark.parametrize(
    ("made", "seconds"),
    [
        (token(exp=2000), 900),
        (token(exp=1001), 0),
        (token(exp=1002), 1),
        (token(exp=999), 0),
        (token(exp=-5), 0),
        (token(sub="x"), 3000),
        ("opaque", 3000),
        ("a.b.c", 3000),
        ("", 3000),
        (token(exp=10**15), access_token.LONGEST_TTL),
        (token(exp=10**400), 3000),
    ],
)
def test_ttl(made: str, seconds: int) -> None:
    assert access_token.ttl(made, 3000, now=1000) == seconds


@given(st.text(), st.integers(0, 10000))
def test_ttl_of_anything(made: str, fallback: int) -> None:
    assert 0 <= access_token.ttl(made, fallback) <= max(fallback, access_token.LONGEST_TTL)


def test_cached_under_the_contracts_key(sandbox: Sandbox, redis_cache: RedisServer) -> None:
    made = token(exp=int(time.time()) + 1000)
    assert get(lambda: made) == made
    key = access_token.cache_key(conf.current())
    assert key.startswith("sms_token:")
    assert cache.get(key) == made
    assert 890 <= cache.ttl(key) <= 900  # type: ignore[attr-defined]  # django-redis has it
    assert get(lambda: pytest.fail("fetched twice")) == made


def test_a_past_token_is_used_once(sandbox: Sandbox) -> None:
    made = token(exp=int(time.time()) - 5)
    fetched: list[str] = []

    def fetch() -> str:
        fetched.append(made)
        return made

    assert get(fetch) == get(fetch) == made
    assert len(fetched) == 2


def test_a_rejected_token_is_dropped_only_if_it_is_still_the_cached_one(sandbox: Sandbox) -> None:
    old, new = token(exp=10**10, n=1), token(exp=10**10, n=2)
    get(lambda: old)
    assert get(lambda: new, rejected=old) == new
    assert get(lambda: pytest.fail("the new one is good"), rejected=old) == new


def test_a_rejected_token_is_dropped_even_if_no_new_one_is_available(sandbox: Sandbox) -> None:
    old = token(exp=10**10)
    get(lambda: old)

    def fails() -> str:
        raise AuthenticationFailed("no", 401)

    with pytest.raises(AuthenticationFailed):
        get(fails, rejected=old)
    assert cache.get(access_token.cache_key(conf.current())) is None


def in_threads(count: int, call: Any) -> list[Any]:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_64_callers_share_one_fetch(sandbox: Sandbox) -> None:
    fetched: list[int] = []

    def fetch() -> str:
        fetched.append(1)
        time.sleep(0.3)
        return token(exp=10**10)

    assert len(set(in_threads(64, lambda: get(fetch)))) == 1
    assert len(fetched) == 1


def test_64_callers_share_one_failure(sandbox: Sandbox) -> None:
    fetched: list[int] = []

    called: list[int] = []

    def fetch() -> str:
        fetched.append(1)
        # Only the threads that call `get` before the failure share it.
        wait_for(lambda: len(called) == 64, 30)
        time.sleep(0.3)
        raise ProviderUnavailable("down", 500, 7.0)

    def call() -> str:
        called.append(1)
        return get(fetch)

    results = in_threads(64, call)
    assert [type(result) for result in results] == [ProviderUnavailable] * 64
    assert {result.retry_after for result in results} == {7.0}
    assert len(fetched) == 1


PROCESS = """
import sys, threading, time, django
from django.conf import settings
settings.configure(
    SECRET_KEY="x" * 50, USE_TZ=True,
    CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": sys.argv[1]}},
    SMS_SERVICE_BASE_URL=sys.argv[2], SMS_SERVICE_USERNAME="u", SMS_SERVICE_PASSWORD="p",
)
django.setup()
from sms.dmark import blocking
from sms.errors import ProviderError
results = []
def run():
    try:
        results.append(blocking.send("0772123456", "x", "", lambda exchange: None))
    except ProviderError as error:
        results.append(type(error).__name__)
threads = [threading.Thread(target=run) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(*results)
"""


def four_processes(redis: RedisServer, sandbox: Sandbox) -> list[str]:
    with tempfile.TemporaryFile() as out:
        command = ["-c", PROCESS, redis.url, sandbox.url]
        processes = [Process(command, env=os.environ, stdout=out) for _ in range(4)]
        assert [process.wait(60) for process in processes] == [0] * 4
        out.seek(0)
        return out.read().decode().split()


def test_four_processes_of_16_threads_fetch_a_token_each_at_most(sandbox: Sandbox, redis_cache: RedisServer) -> None:
    sandbox.faults(latency_ms=200)
    assert len(four_processes(redis_cache, sandbox)) == 64
    assert 1 <= sandbox.token_requests <= 4
    assert len(sandbox.inbox()) == 64


def test_four_processes_learn_of_a_failure_with_few_requests(sandbox: Sandbox, redis_cache: RedisServer) -> None:
    sandbox.faults(token="500", latency_ms=100)
    assert four_processes(redis_cache, sandbox) == ["ProviderUnavailable"] * 64
    assert sandbox.token_requests <= 12


def test_without_a_cache_a_token_is_fetched(sandbox: Sandbox, redis_cache: RedisServer, caplog: Any) -> None:
    redis_cache.stop()
    assert get(lambda: "fresh") == "fresh"
    assert caplog.text.count("sms.cache_down") == 1
