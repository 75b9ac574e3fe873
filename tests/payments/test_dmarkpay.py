"""DMarkPay's client over real HTTP: its requests, and how it handles every fault."""

import base64
import logging
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.cache import cache

from payments.providers import Answer, Order, Said
from payments.providers.dmarkpay import client as dmarkpay_client
from payments.providers.dmarkpay.client import DMarkPay
from tests.conftest import free_port
from tests.payments.helpers import asked
from tests.raw_host import dripping_host
from tests.sandbox import Sandbox

OURS = "sp-1"
PHONE = "+256772123456"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def order(**changes: Any) -> Order:
    usual = {"reference": OURS, "phone": PHONE, "network": "mtn", "amount": 1000, "description": "A stake"}
    return Order(**{**usual, **changes})


@pytest.fixture
def client(collection: Sandbox, settings: Any) -> DMarkPay:
    settings.DMARK_PAY_TIMEOUT = 1.0
    collection.faults(hang_seconds=2.5, answer_after=0.5, callback="never")
    return DMarkPay()


@pytest.mark.parametrize(
    ("network", "wallet", "method", "sent"),
    [
        ("mtn", "dmark", "mtn_mobile_money", "dmark"),
        ("airtel", "dmark", "airtel_mobile_money", "dmark"),
        ("mtn", "network", "mtn_mobile_money", "mtn"),
        ("airtel", "network", "airtel_mobile_money", "airtel_oapi"),
    ],
)
def test_what_is_sent(
    client: DMarkPay, collection: Sandbox, settings: Any, network: str, wallet: str, method: str, sent: str
) -> None:
    settings.DMARK_PAY_WALLET = wallet
    assert DMarkPay().collect(order(network=network, notify_url="https://a.example/n/")).said is Said.PENDING
    token, payin = collection.requests()
    assert token["path"] == "/o/token/"
    assert payin["path"] == "/api/v1/accounts/ACC-77/transactions/payin/"
    assert payin["body"] == {
        "wallet": sent,
        "payment_method": method,
        "msisdn": "256772123456",
        "description": "A stake",
        "amount": "1000.00",
        "sp_transaction_id": OURS,
        "notify_url": "https://a.example/n/",
    }


# Each fault immediate, late and without a response, and after the request took effect. An ambiguous request must not be
# repeated.
FAULTS = [
    ("ok", Said.PENDING),
    ("late", Said.PENDING),
    ("slow", Said.IN_DOUBT),
    ("hang", Said.IN_DOUBT),
    ("reset", Said.IN_DOUBT),
    ("truncated", Said.IN_DOUBT),
    ("html", Said.IN_DOUBT),
    ("huge", Said.IN_DOUBT),
    ("empty", Said.IN_DOUBT),
    ("redirect", Said.IN_DOUBT),
    ("400", Said.FAILED),
    ("403", Said.NOT_TAKEN),
    ("429", Said.NOT_TAKEN),
    ("500", Said.IN_DOUBT),
    ("504", Said.IN_DOUBT),
    ("taken_hang", Said.IN_DOUBT),
    ("taken_late", Said.PENDING),
    ("taken_reset", Said.IN_DOUBT),
    ("taken_truncated", Said.IN_DOUBT),
    ("taken_500", Said.IN_DOUBT),
    ("taken_empty", Said.IN_DOUBT),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS)
def test_one_question_whatever_the_fault(client: DMarkPay, collection: Sandbox, fault: str, said: Said) -> None:
    collection.faults(payin=fault)
    answer = client.collect(order())
    assert answer.said is said, answer
    # A 403 may mean an expired token, so the request is repeated once with a new token. The first request had no
    # effect.
    assert asked(collection) == {OURS: 2 if fault == "403" else 1}
    if said is not Said.PENDING:
        assert answer.words


@pytest.mark.parametrize("payout", [False, True])
def test_who_waited_too_long_for_a_token_asks_no_more(
    client: DMarkPay, collection: Sandbox, settings: Any, payout: bool
) -> None:
    """After a long wait for the token, the lease may have expired, and an operator may have paid in another way."""
    settings.DMARK_PAY_TIMEOUT = 0.1
    late = DMarkPay()
    assert late.longest == pytest.approx(1.2)
    asking = late.payout if payout else late.collect
    with ThreadPoolExecutor(1) as pool:
        with dmarkpay_client._fetching:
            answer = pool.submit(asking, order())
            time.sleep(1)
        assert answer.result().said is Said.NOT_TAKEN
    assert asked(collection, "payout" if payout else "payin") == {}


def test_nobody_listens(client: DMarkPay, settings: Any) -> None:
    """A request that was certainly not written may be repeated. The token is already cached."""
    assert client.collect(order()).said is Said.PENDING
    token = {key: cache.get(key) for key in cache._cache if "dmarkpay_token" in key}  # type: ignore[attr-defined]
    assert len(token) == 1
    settings.DMARK_PAY_BASE_URL = f"http://127.0.0.1:{free_port()}"
    lost = DMarkPay()
    lost._token = lambda rejected: "a token"  # type: ignore[method-assign]
    answer = lost.collect(order())
    assert (answer.said, answer.words) == (
        Said.NOT_TAKEN,
        "DMarkPay cannot be reached (no connection).",
    )
    settings.DMARK_PAY_BASE_URL = "http://no-such-host.invalid"
    lost = DMarkPay()
    lost._token = lambda rejected: "a token"  # type: ignore[method-assign]
    assert lost.collect(order()).said is Said.NOT_TAKEN


@pytest.fixture
def full_backlog() -> Iterator[str]:
    """A port that accepts no connection, because its backlog is full, like that of a hanging host."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        yield f"http://127.0.0.1:{port}"
        for filler in fillers:
            filler.close()


def test_a_connect_time_out_never_left(full_backlog: str, settings: Any, collection: Sandbox) -> None:
    settings.DMARK_PAY_BASE_URL, settings.DMARK_PAY_TIMEOUT = full_backlog, 0.3
    client = DMarkPay()
    client._token = lambda rejected: "a token"  # type: ignore[method-assign]
    answer = client.collect(order())
    assert answer.said is Said.NOT_TAKEN
    assert answer.words == "DMarkPay cannot be reached (timeout)."


@pytest.mark.parametrize(
    ("at_once", "drop"),
    [
        (HEAD, b"X-More: x\r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        (HEAD + b"Content-Length: 900\r\n\r\n", b" "),
    ],
    ids=["head", "length of a chunk", "body"],
)
def test_an_answer_that_never_ends_is_given_up(settings: Any, collection: Sandbox, at_once: bytes, drop: bytes) -> None:
    """A byte from time to time prevents every timeout of the socket."""
    settings.DMARK_PAY_TIMEOUT = 0.4
    with dripping_host(at_once, drop) as url:
        settings.DMARK_PAY_BASE_URL = url
        client = DMarkPay()
        client._token = lambda rejected: "a token"  # type: ignore[method-assign]
        answer = client.collect(order())
    assert answer.said is Said.IN_DOUBT
    # The server closes the connection only after 5 s, so this is the client's own timeout.
    assert answer.words == "DMarkPay sent no complete response (timeout)."


def test_the_token_is_kept_and_a_stale_one_replaced(client: DMarkPay, collection: Sandbox) -> None:
    for number in range(3):
        assert client.collect(order(reference=f"sp-{number}")).said is Said.PENDING
    assert collection.asked("/o/token/") == 1
    collection.faults(pay_token_uses=1)
    # Each token is now valid for one request. Each payment request gets a 403, fetches a token, and is accepted once.
    for number in range(10, 13):
        assert client.collect(order(reference=f"sp-{number}")).said is Said.PENDING
    taken = collection.counts()["money"]["taken"]["payin"]
    assert set(taken.values()) == {1}
    assert len(taken) == 6


def test_a_token_refused_twice_is_not_the_payments_fault(client: DMarkPay, collection: Sandbox) -> None:
    collection.faults(payin="403")
    answer = client.collect(order())
    assert answer.said is Said.NOT_TAKEN
    assert collection.asked("/o/token/") == 2


def test_a_cache_that_is_down_costs_a_token_each(client: DMarkPay, collection: Sandbox, settings: Any) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://127.0.0.1:{free_port()}/0",
            "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 1, "SOCKET_TIMEOUT": 1},
        }
    }
    assert [client.collect(order(reference=name)).said for name in "ab"] == [Said.PENDING] * 2
    assert collection.asked("/o/token/") == 2


@pytest.mark.parametrize(
    ("fault", "said"),
    [("ok", Said.PENDING), ("404", Said.UNKNOWN), ("500", Said.IN_DOUBT), ("hang", Said.IN_DOUBT)],
)
def test_asking_what_became_of_it(client: DMarkPay, collection: Sandbox, fault: str, said: Said) -> None:
    provider_id = client.collect(order()).provider_id
    collection.faults(pay_status=fault)
    answer = client.status(provider_id)
    assert answer.said is said
    if said is Said.PENDING:
        assert (answer.ours, answer.provider_id) == (OURS, provider_id)


def test_an_id_is_no_path(client: DMarkPay, collection: Sandbox) -> None:
    client.status("../../../x?y#z")
    assert "..%2F..%2F..%2Fx%3Fy%23z" in collection.requests()[-1]["path"]


def test_no_secret_reaches_the_log(client: DMarkPay, collection: Sandbox, caplog: Any, settings: Any) -> None:
    caplog.set_level(logging.DEBUG)
    answers: list[Answer] = []
    for fault in ("ok", "reset", "403", "500"):
        collection.faults(payin=fault)
        answers.append(client.collect(order()))
    collection.faults(pay_token="401")
    cache.clear()
    answers.append(client.collect(order()))
    told = caplog.text + repr(answers)
    basic = base64.b64encode(f"collector:{settings.DMARK_PAY_PASSWORD}".encode()).decode()
    for secret in (settings.DMARK_PAY_PASSWORD, basic, "Bearer", "256772123456"):
        assert secret not in told
