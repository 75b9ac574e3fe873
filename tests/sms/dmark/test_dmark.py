"""Every known response of DMark, and every fault over real HTTP."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms import conf
from sms.dmark import blocking, conversation, responses
from sms.dmark.exchange import Exchange
from sms.dmark.responses import Reply
from sms.errors import (
    AccountRefused,
    AuthenticationFailed,
    InDoubt,
    Misdirected,
    NotDmarks,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
)
from tests.conftest import Sandbox
from tests.loop_driver import over_loop
from tests.raw_host import PATHS, dripping_host, raw_host

JWT = "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"


def reply(status: int, body: str | bytes) -> Reply:
    return responses.read(status, body.encode() if isinstance(body, str) else body, None)


def read(reader: Any, status: int, body: str | bytes) -> Any:
    try:
        return reader(reply(status, body))
    except ProviderError as error:
        return type(error)


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, f'{{"access_token": "{JWT}", "description": "Token generated", "status_code": "201"}}', JWT),
        (201, f'{{"access_token": "{JWT}", "first_name": "", "username": "", "status_code": "201"}}', JWT),
        (200, '{"access_token": "opaque"}', "opaque"),
        (
            401,
            '{"access_token": "", "description": "Invalid username or password", "status_code": "401"}',
            AuthenticationFailed,
        ),
        (
            200,
            '{"access_token": "", "description": "Invalid username or password", "status_code": "401"}',
            AuthenticationFailed,
        ),
        (
            404,
            '{"error": "Account Not Found", "description": "Account Does Not Exist.", "status_code": 404}',
            AuthenticationFailed,
        ),
        (422, "{}", AuthenticationFailed),
        (400, "<html>", AuthenticationFailed),
        (429, "{}", ProviderUnavailable),
        (500, "<html>", ProviderUnavailable),
        (301, "", Misdirected),
        (200, "<html></html>", ProviderUnavailable),
        (200, "", ProviderUnavailable),
        (200, "[]", ProviderUnavailable),
        (200, '{"access_token": ""}', ProviderUnavailable),
        (200, '{"access_token": null}', ProviderUnavailable),
        (200, '{"access_token": 5}', ProviderUnavailable),
        (200, '{"access_token": "a\\nX-Evil: 1"}', ProviderUnavailable),
        (200, '{"access_token": "tok\\u0000en"}', ProviderUnavailable),
    ],
)
def test_token_responses(status: int, body: str, outcome: Any) -> None:
    assert read(responses.access_token, status, body) == outcome


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (
            200,
            '{"Failed": 0, "Total": 1, "Submitted": 1, "Detail": [{"phone": "256772123456", "msg_id": 2047158}]}',
            "2047158",
        ),
        (201, '{"msg_id": "REAL-MSG-001", "status_code": "201", "description": "Message accepted"}', "REAL-MSG-001"),
        (200, '{"message_id": 7, "status_code": 200}', "7"),
        (200, '{"id": "a-1", "description": "ok"}', "a-1"),
        (200, '{"Failed": 0, "Submitted": 1, "Detail": []}', ""),
        (200, '{"Failed": 0, "Submitted": 1, "Detail": {"msg_id": 8}}', "8"),
        (200, '{"status_code": "201", "description": "Message accepted"}', ""),
        (200, '{"msg_id": "", "status_code": "200"}', ""),
        (200, '{"msg_id": 2047158.0}', "2047158"),
        (200, '{"msg_id": true, "status_code": "200"}', ""),
        (200, '{"msg_id": "a\\u0000b\\ud800"}', "a\ufffdb\ufffd"),
        (
            200,
            '{"Failed": 1, "Total": 1, "Submitted": 0, "Detail": [{"phone": "256772123456", "msg_id": 1}]}',
            ProviderRejected,
        ),
        (200, '{"Failed": "1", "Total": "1", "Submitted": "0"}', ProviderRejected),
        (200, '{"Failed": 1.0, "Total": 1.0, "Submitted": 1, "Detail": [{"msg_id": 1}]}', ProviderRejected),
        (200, '{"Failed": true, "Detail": [{"msg_id": 1}]}', ProviderRejected),
        (200, '{"Failed": "true", "msg_id": 1}', ProviderRejected),
        (200, '{"Failed": "1.0", "msg_id": 1}', ProviderRejected),
        (200, '{"Failed": ["256772123456"], "msg_id": 1}', ProviderRejected),
        (200, '{"Failed": 0.0, "Submitted": 1.0, "Detail": [{"msg_id": 9}]}', "9"),
        (200, '{"Failed": false, "Submitted": true, "msg_id": 9}', "9"),
        (200, '{"Failed": [], "msg_id": 9}', "9"),
        (200, '{"Failed": null, "Submitted": null, "msg_id": 9}', "9"),
        (200, '{"Failed": 0, "Submitted": 0.0, "msg_id": 9}', ProviderRejected),
        (200, '{"Failed": 0, "Submitted": false, "msg_id": 9}', ProviderRejected),
        (200, '{"status_code": 400.0}', ProviderRejected),
        (200, '{"status_code": 99999999999999999999}', ProviderRejected),
        (200, '{"Failed": 0, "Total": 1, "Submitted": 0, "Detail": []}', ProviderRejected),
        (400, '{"msg_id": "", "status_code": "400", "description": "Invalid message format"}', ProviderRejected),
        (200, '{"msg_id": "", "status_code": "400", "description": "Invalid message format"}', ProviderRejected),
        (401, '{"msg_id": "", "status_code": "401", "description": "Invalid auth token"}', responses.StaleToken),
        (200, '{"msg_id": "", "status_code": 401, "description": "Invalid auth token"}', responses.StaleToken),
        (
            403,
            '{"error": "unauthenticated", "description": "Invalid token type.", "status_code": "403"}',
            responses.StaleToken,
        ),
        (404, "<html>", ProviderRejected),
        (302, "", Misdirected),
        (504, "<html>", InDoubt),
        (200, '{"status_code": "504"}', InDoubt),
        (402, "{}", AccountRefused),
        (400, '{"description": "Insufficient credit", "status_code": "400"}', AccountRefused),
        (200, '{"Failed": 1, "Submitted": 0, "description": "Your account is suspended"}', AccountRefused),
        (400, '{"description": "Sender ID not approved"}', AccountRefused),
        (400, '{"description": "Sender is empty"}', ProviderRejected),
        (429, "{}", ProviderUnavailable),
        (200, '{"status_code": 500}', ProviderUnavailable),
        (503, "<html>", ProviderUnavailable),
        (200, "<html>", NotDmarks),
        (200, "[1]", NotDmarks),
        (200, "", NotDmarks),
        (200, '{"Failed": 0, "To', NotDmarks),
        (200, "[" * 30000, NotDmarks),
        (200, b"\xff\xfe", NotDmarks),
    ],
)
def test_send_responses(status: int, body: str | bytes, outcome: Any) -> None:
    assert read(responses.accepted_id, status, body) == outcome


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, '{"msg_id": 2047158, "status": "DELIVERED", "submitted_at": "2019-11-18 13:06:14.384962"}', "DELIVERED"),
        (200, '{"msg_id": "x", "status": "delivered", "status_code": "200"}', "DELIVERED"),
        (200, '{"msg_id": "x", "status": 1}', "1"),
        (200, '{"msg_id": "x"}', ""),
        (404, "{}", ""),
        (401, "{}", responses.StaleToken),
        (500, "", ProviderUnavailable),
        (200, "<html>", ProviderRejected),
    ],
)
def test_report_responses(status: int, body: str, outcome: Any) -> None:
    assert read(responses.report, status, body) == outcome


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    ["Failed", "Submitted", "Detail", "msg_id", "id", "status_code", "access_token", "status", "description"]
)


@given(
    st.integers(200, 599),
    st.one_of(st.binary(max_size=200), st.dictionaries(_KEYS, _JSON).map(lambda data: json.dumps(data).encode())),
)
def test_any_response_gives_a_result_or_a_provider_error(status: int, body: bytes) -> None:
    for reader in (responses.access_token, responses.accepted_id, responses.report):
        outcome = read(reader, status, body)
        if isinstance(outcome, str):
            assert "\0" not in outcome
            outcome.encode()
            assert len(outcome) <= 8192
        else:
            assert issubclass(outcome, ProviderError)


# (fault, expected error, requests for a token, send requests)
FAULTS_ON_SEND = [
    ("400", ProviderRejected, 1, 1),
    ("404", ProviderRejected, 1, 1),
    ("401", AuthenticationFailed, 2, 2),
    ("403", AuthenticationFailed, 2, 2),
    ("body_401", AuthenticationFailed, 2, 2),
    ("429", ProviderUnavailable, 1, 3),
    ("500", ProviderUnavailable, 1, 3),
    ("503", ProviderUnavailable, 1, 3),
    ("body_500", ProviderUnavailable, 1, 3),
    ("reset", InDoubt, 1, 1),
    ("truncated", InDoubt, 1, 1),
    ("hang", InDoubt, 1, 1),
    ("slow", InDoubt, 1, 1),
    ("redirect", Misdirected, 1, 1),
    ("html", NotDmarks, 1, 1),
    ("huge", NotDmarks, 1, 1),
    ("list", NotDmarks, 1, 1),
    ("empty", NotDmarks, 1, 1),
    ("not_json", NotDmarks, 1, 1),
    ("wrong_type", NotDmarks, 1, 1),
    ("nul", ProviderRejected, 1, 1),
]
FAULTS_ON_TOKEN = [
    ("400", AuthenticationFailed, 1),
    ("401", AuthenticationFailed, 1),
    ("404", AuthenticationFailed, 2),
    ("422", AuthenticationFailed, 1),
    ("body_401", AuthenticationFailed, 1),
    ("429", ProviderUnavailable, 3),
    ("500", ProviderUnavailable, 3),
    ("reset", ProviderUnavailable, 3),
    ("truncated", ProviderUnavailable, 3),
    ("hang", ProviderUnavailable, 3),
    ("redirect", Misdirected, 1),
    ("html", ProviderUnavailable, 1),
    ("huge", ProviderUnavailable, 1),
    ("list", ProviderUnavailable, 1),
    ("empty", ProviderUnavailable, 1),
    ("wrong_type", ProviderUnavailable, 1),
]


Attempt = Callable[[], tuple[list[Exchange], Any]]


@pytest.fixture(params=["blocking", "loop"])
def attempt(request: Any) -> Attempt:
    """Return a function that sends one message with one of the two drivers.

    The function returns the requests, and DMark's id or the error.
    """

    def one() -> tuple[list[Exchange], Any]:
        exchanges: list[Exchange] = []
        config = conf.current()
        if request.param == "loop":
            return exchanges, over_loop(config, exchanges)
        talk = conversation.send(config, "0772123456", "hello", "", exchanges.append)
        try:
            return exchanges, blocking.run(talk, config, exchanges.append)
        except ProviderError as error:
            return exchanges, error

    return one


@pytest.mark.parametrize(("fault", "error", "tokens", "sends"), FAULTS_ON_SEND)
def test_faults_on_send(
    sandbox: Sandbox, settings: Any, fault: str, error: type[Exception], tokens: int, sends: int, attempt: Attempt
) -> None:
    settings.SMS_READ_TIMEOUT = 0.3
    sandbox.faults(send=fault, retry_after=0, hang_seconds=0.6)
    exchanges, outcome = attempt()
    assert type(outcome) is error, outcome
    assert (sandbox.token_requests, sandbox.sends) == (tokens, sends)
    assert sum(exchange.step == "send" for exchange in exchanges) == sends
    assert str(outcome).endswith(".")
    for exchange in exchanges:
        assert len(exchange.answer) <= 520
        assert "\0" not in exchange.answer
        exchange.answer.encode()


@pytest.mark.parametrize(("fault", "error", "tokens"), FAULTS_ON_TOKEN)
def test_faults_on_token(
    sandbox: Sandbox, settings: Any, fault: str, error: type[Exception], tokens: int, attempt: Attempt
) -> None:
    settings.SMS_READ_TIMEOUT = 0.3
    sandbox.faults(token=fault, retry_after=0, hang_seconds=0.6)
    _, outcome = attempt()
    assert type(outcome) is error, outcome
    assert (sandbox.token_requests, sandbox.sends) == (tokens, 0)


def test_a_short_fault_is_retried_away(sandbox: Sandbox, attempt: Attempt) -> None:
    sandbox.faults(send="503", send_times=2, token="500", token_times=1)
    exchanges, outcome = attempt()
    assert isinstance(outcome, str)
    assert outcome
    assert len(sandbox.inbox()) == 1
    assert [exchange.status for exchange in exchanges] == [500, 201, 503, 503, 200]


def test_a_long_retry_after_is_not_waited_for(sandbox: Sandbox, attempt: Attempt) -> None:
    sandbox.faults(send="429", retry_after=30)
    _, outcome = attempt()
    assert isinstance(outcome, ProviderUnavailable)
    assert outcome.retry_after == 30
    assert sandbox.sends == 1


def test_a_stale_token_is_replaced_once(sandbox: Sandbox, attempt: Attempt) -> None:
    attempt()
    sandbox.faults(send="401", send_times=1)
    _, outcome = attempt()
    assert isinstance(outcome, str)
    assert (sandbox.token_requests, sandbox.sends, len(sandbox.inbox())) == (2, 3, 2)


def test_what_is_sent(sandbox: Sandbox) -> None:
    text = 'Curly ’ŋ "quoted" \\ €'
    blocking.send("0772123456", text, "http://127.0.0.1/sms/dlr/1.x/", lambda exchange: None)
    [request] = [request for request in sandbox.requests() if request["path"] == "/v3/api/send_sms/"]
    assert request["body"] == {
        "msg": text,
        "numbers": "0772123456",
        "dlr_url": "http://127.0.0.1/sms/dlr/1.x/",
        "scan_ip": False,
    }
    assert sandbox.inbox()[0]["text"] == text


@pytest.mark.parametrize(
    ("body", "outcome"),
    [(gzip.compress(b'{"msg_id": 7}', mtime=0), "7"), (b"\x1f\x8b not gzip at all", None), (b"nor this", None)],
)
def test_a_response_compressed_without_request(
    settings: Any, body: bytes, outcome: str | None, attempt: Attempt
) -> None:
    with raw_host(body, {"Content-Encoding": "gzip"}) as host:
        settings.SMS_SERVICE_BASE_URL = host.url
        settings.SMS_SERVICE_USERNAME, settings.SMS_SERVICE_PASSWORD = "u", "p"
        _, result = attempt()
    if outcome:
        assert result == outcome
    else:
        assert isinstance(result, ProviderRejected)
        assert "Something other than DMark" in str(result)
    assert host.asked == PATHS


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("at_once", "drop"),
    [
        (HEAD, b"X-More: x\r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        (HEAD + b"Content-Length: 900\r\n\r\n", b" "),
    ],
    ids=["head", "length of a chunk", "body"],
)
def test_a_response_that_trickles_in_is_a_timeout(settings: Any, at_once: bytes, drop: bytes, attempt: Attempt) -> None:
    """If the timeout started again with each byte, the provider could block an inline sender forever."""
    settings.SMS_CONNECT_TIMEOUT, settings.SMS_READ_TIMEOUT = 0.4, 0.6
    settings.SMS_SERVICE_USERNAME, settings.SMS_SERVICE_PASSWORD = "u", "p"
    with dripping_host(at_once, drop) as url:
        settings.SMS_SERVICE_BASE_URL = url
        exchanges, result = attempt()
    assert isinstance(result, InDoubt)
    assert str(result) == "DMark did not answer in time."
    assert [exchange.step for exchange in exchanges if exchange.step == "send"] == ["send"]


def test_a_password_in_the_base_url_is_used(settings: Any, attempt: Attempt) -> None:
    with raw_host(b'{"msg_id": 7}', {}) as host:
        settings.SMS_SERVICE_BASE_URL = f"  {host.url.replace('//', '//gate:way@')}/ "
        settings.SMS_SERVICE_USERNAME, settings.SMS_SERVICE_PASSWORD = "u", "p"
        _, result = attempt()
    assert result == "7"
    assert set(host.authorizations) == {"Basic Z2F0ZTp3YXk="}


def test_connection_refused(sandbox: Sandbox, settings: Any, attempt: Attempt) -> None:
    settings.SMS_SERVICE_BASE_URL = "http://127.0.0.1:9"
    exchanges, outcome = attempt()
    assert isinstance(outcome, ProviderUnavailable)
    assert "ConnectionRefusedError" in str(outcome)
    assert len(exchanges) == 3


@pytest.mark.parametrize(
    "base", ["nonsense", "ftp://x", "http://", "http://x:99999", "http://[::1", "http://user:pass:word@:1/"]
)
def test_an_invalid_base_url_is_refused(
    sandbox: Sandbox, settings: Any, monkeypatch: Any, base: str, attempt: Attempt
) -> None:
    # In a test run, SMS is off if the provider is not on this machine.
    monkeypatch.setattr(conf, "in_test_run", lambda: False)
    settings.SMS_SERVICE_BASE_URL = base
    _, outcome = attempt()
    assert isinstance(outcome, Misdirected)
    assert base not in str(outcome)
    assert sandbox.requests() == []


@pytest.mark.parametrize("rest", ["#", "#/path", "?", "?x=1", "/v3?x=#"])
def test_no_credentials_go_to_a_base_url_with_a_fragment_or_a_query(
    sandbox: Sandbox, settings: Any, rest: str, attempt: Attempt
) -> None:
    """Before the fix, the credentials were sent to the path `/` of the host."""
    settings.SMS_SERVICE_BASE_URL = sandbox.url.replace("//", "//gate:sesame@") + rest
    _, outcome = attempt()
    assert isinstance(outcome, Misdirected)
    assert str(outcome).startswith("SMS_SERVICE_BASE_URL holds a # or a ?")
    assert "sesame" not in str(outcome)
    assert sandbox.requests() == []
