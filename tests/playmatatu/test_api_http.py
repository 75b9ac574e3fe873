"""The JSON API's responses to malformed and hostile requests, for every URL."""

import json
from typing import Any

import pytest
from django.test import Client

from game.models import Entry, Player
from payments.models import Payment
from sms.models import SmsMessage
from tests.game_helpers import ALICE, BOB, CALLBACK, post, stake

pytestmark = pytest.mark.django_db(transaction=True)

STAKE = "/api/v1/game/stake"
STATUS = "/api/v1/game/queue/status"
READS = (STATUS + "?queue_token=x", "/api/v1/config", "/api/v1/health")


@pytest.fixture(params=[False, True], ids=["production", "debug"])
def debug(request: Any, settings: Any) -> bool:
    settings.DEBUG = request.param
    return bool(request.param)


def sentence(answer: Any, code: int) -> str:
    """Return the sentence of an error response."""
    assert answer.status_code == code, answer.content[:500]
    assert answer["Content-Type"].startswith("application/json")
    body = answer.json()
    assert set(body) == {"error", "fields"}
    assert isinstance(body["fields"], dict)
    said = str(body["error"])
    assert said[0].isupper() or said.split(" ")[0].strip(":") in body["fields"] or "_" in said.split(" ")[0]
    assert said.endswith(".")
    return said


@pytest.mark.parametrize(
    "path", ["/api/", "/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v1/config/", STAKE + "/", "/api/v2/config"]
)
@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
def test_an_unknown_address(debug: bool, path: str, method: str) -> None:
    # With CSRF checks, as on a real site. The response must be our error and not Django's page about cookies.
    client = Client(enforce_csrf_checks=True)
    sentence(getattr(client, method)(path), 404)


@pytest.mark.parametrize("path", [STAKE, CALLBACK])
@pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options", "trace"])
def test_a_method_that_a_post_address_does_not_take(debug: bool, path: str, method: str) -> None:
    answer = getattr(Client(enforce_csrf_checks=True), method)(path)
    assert answer.status_code == 405
    assert answer["Allow"] == "POST"
    if method != "head":
        sentence(answer, 405)


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
def test_a_method_that_a_get_address_does_not_take(client: Client, path: str, method: str) -> None:
    answer = getattr(client, method)(path)
    sentence(answer, 405)
    assert set(answer["Allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/api/docs", "/api/openapi.json"])
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
def test_the_docs_are_read_only(client: Client, path: str, method: str) -> None:
    sentence(getattr(client, method)(path), 405)


@pytest.mark.parametrize("path", [*READS, "/api/docs", "/api/openapi.json"])
def test_head_answers_as_get_does(client: Client, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code == 200
    assert head["Content-Type"] == get["Content-Type"]
    assert head.content == b""


def test_options_serves_cors_only(client: Client, settings: Any) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://play.example.com"]
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answer = client.options(STAKE, headers={"Origin": "https://play.example.com", **asked})
    assert answer.status_code == 200
    assert answer["Access-Control-Allow-Origin"] == "https://play.example.com"
    assert "content-type" in answer["Access-Control-Allow-Headers"]
    stranger = client.options(STAKE, headers={"Origin": "https://evil.example.com", **asked})
    assert "Access-Control-Allow-Origin" not in stranger
    # A frontend on another host must be able to read errors too.
    refused = client.post(STAKE, b"{", content_type="application/json", headers={"Origin": "https://play.example.com"})
    assert refused["Access-Control-Allow-Origin"] == "https://play.example.com"
    # A frontend on another host may not send cookies.
    assert "Access-Control-Allow-Credentials" not in refused


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", ""],
)
def test_json_only(client: Client, content_type: str) -> None:
    raw = json.dumps({"phone_number": ALICE, "stake_amount": 1000}).encode()
    sentence(client.generic("POST", STAKE, raw, content_type=content_type), 415)
    assert Entry.objects.count() == 0


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_with_a_charset_or_capitals(client: Client, content_type: str) -> None:
    raw = json.dumps({"phone_number": ALICE, "stake_amount": 1000, "display_name": "Ŋŋ 🎲"}, ensure_ascii=False)
    answer = client.generic("POST", STAKE, raw.encode(), content_type=content_type)
    assert answer.json()["display_name"] == "Ŋŋ 🎲"


def test_a_body_may_have_64_kib(client: Client) -> None:
    body = json.dumps({"phone_number": ALICE, "stake_amount": 1000}).encode()
    assert client.post(STAKE, body.ljust(65536), content_type="application/json").status_code == 200
    sentence(client.post(STAKE, body.ljust(65537), content_type="application/json"), 413)
    sentence(client.post(STAKE, b" " * 5_000_000, content_type="application/json"), 413)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"5",
        b'"text"',
        b"[]",
        b"{",
        b"{'phone_number': 1}",
        b'{"phone_number": "0772000001", "stake_amount": NaN}',
        b'{"phone_number": "0772000001", "stake_amount": 1000, "unknown": [Infinity]}',
        b'{"phone_number": "0772000001", "stake_amount": -Infinity}',
        b'{"phone_number": "0772000001", "stake_amount": 1e400}',
        b'{"phone_number": "0772000001", "stake_amount": ' + b"9" * 5000 + b"}",
        b'{"phone_number": "0772000001", "stake_amount": "' + b"9" * 5000 + b'"}',
        b'{"phone_number": ' + b"9" * 4000 + b', "stake_amount": 1000}',
        b'{"phone_number": "0772000001", "stake_amount": 1000, "display_name": "\xff"}',
        b'{"phone_number": "0772000001", "stake_amount": 1000, "display_name": "\x00"}',
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"[" * 30_000 + b"]" * 30_000,
        b'{"phone_number": {"a": ' + b"[" * 500 + b"]" * 500 + b'}, "stake_amount": 1000}',
        b'{"phone_number": {"\\ud800": 1}, "stake_amount": 1000}',
        b'{"stake_amount": {"\\u0000": ["\\ud800"]}, "phone_number": "0772000001"}',
    ],
)
def test_a_body_without_a_valid_stake(client: Client, raw: bytes, settings: Any) -> None:
    assert "body" in sentence(client.generic("POST", STAKE, raw, CONTENT_TYPE="application/json"), 400) or raw[0] == 123
    proof = {"X-Callback-Secret": settings.MOMO_CALLBACK_SECRET}
    sentence(client.generic("POST", CALLBACK, raw, CONTENT_TYPE="application/json", headers=proof), 400)
    assert Player.objects.count() == Payment.objects.count() == 0


HOSTILE = ["\x00", "\x07", "\x1b", "\x7f", "\x85", "\ud800", "\udfff"]


@pytest.mark.parametrize("char", HOSTILE, ids=ascii)
@pytest.mark.parametrize(
    "body",
    [
        {"phone_number": "0772000001{}"},
        {"phone_number": "0772{}000001"},
        {"phone_number": "{}"},
        {"stake_amount": "1000{}"},
        {"display_name": "{}"},
        {"display_name": "Alice{}"},
        {"match_code": "ABC234{}"},
        {"create_private": True, "invite_phone": "{}0772000002"},
        {"create_private": "true{}"},
        {"unknown": "a{}b"},
        {"unknown": [{"a": {"b{}": 1}}]},
        {"un{}known": 1},
    ],
    ids=str,
)
def test_control_characters_are_refused(client: Client, char: str, body: dict[str, Any]) -> None:
    def put(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("{}", char)
        if isinstance(value, dict):
            return {put(key): put(item) for key, item in value.items()}
        return [put(item) for item in value] if isinstance(value, list) else value

    sentence(post(client, **({"phone_number": ALICE, "stake_amount": 1000} | put(body))), 400)
    assert Player.objects.count() == SmsMessage.objects.count() == 0


@pytest.mark.parametrize(("field", "value"), [("display_name", "A"), ("match_code", "ABC234")])
@pytest.mark.parametrize("char", ["\n", "\t", "\r\n"], ids=ascii)
def test_line_breaks_and_tabs_are_refused_in_names_and_codes(client: Client, field: str, value: str, char: str) -> None:
    """Phone numbers may contain line breaks and tabs, because pasted numbers do (tests/phone_vectors.py)."""
    answer = post(client, phone_number=ALICE, stake_amount=1000, **{field: value + char})
    sentence(answer, 400)
    assert list(answer.json()["fields"]) == [field]


def test_true_is_not_one_shilling(client: Client, settings: Any) -> None:
    settings.MIN_STAKE_AMOUNT = 1
    sentence(post(client, phone_number=ALICE, stake_amount=True), 400)
    sentence(post(client, phone_number=ALICE, stake_amount=1.0), 400)
    assert stake(client, ALICE, 1)["stake_amount"] == 1


@pytest.mark.parametrize(
    "path",
    [
        STATUS + "?queue_token=%00",
        STATUS + "?queue_token=1.a%0Ab",
        STATUS + "?queue_token=x&other=%1b",
        STATUS + "?queue_token=x&oth%00er=1",
        "/api/v1/game/abc?pt=%00",
        "/api/v1/game/a%00b",
        "/api/v1/game/a%7Fb",
        "/api/v1/config?x=%00",
    ],
)
def test_control_characters_in_an_address(client: Client, path: str) -> None:
    sentence(client.get(path), 400)


@pytest.mark.parametrize("path", ["/g/a%00b", "/g/%0A", "/join?match_code=%00", "/waiting?%00"])
def test_control_characters_in_the_address_of_a_page(client: Client, path: str) -> None:
    assert client.get(path).status_code < 500


@pytest.mark.parametrize("token", ["%ff", "%ED%A0%80", "..", "é", "1", "1.", ".", "-1.x", "1.1.1", "x" * 5000])
def test_malformed_tokens_are_unknown(client: Client, token: str) -> None:
    answer = client.get(f"{STATUS}?queue_token={token}")
    assert (answer.status_code, answer.json()["status"]) == (200, "not_found")
    assert client.get(f"/api/v1/game/{token}").status_code == 404


def test_a_newline_in_an_unknown_field_is_ignored(client: Client) -> None:
    stake(client, ALICE, note="two\r\nlines\tand a tab")


def test_empty_and_null_count_as_absent(client: Client) -> None:
    for nothing in ("", None):
        absent = dict.fromkeys(("display_name", "create_private", "invite_phone", "match_code"), nothing)
        assert stake(client, ALICE if nothing is None else BOB, 1000 if nothing is None else 2000, **absent)[
            "status"
        ] == ("queued")
        answer = post(client, phone_number=nothing, stake_amount=nothing)
        sentence(answer, 400)
        assert set(answer.json()["fields"]) == {"phone_number", "stake_amount"}
        assert answer.json()["fields"]["phone_number"] == "phone_number is required."


def test_an_internal_error_is_json(monkeypatch: Any, debug: bool) -> None:
    monkeypatch.setattr("game.api.routes.place", lambda stake: 1 / 0)
    answer = post(Client(raise_request_exception=False), phone_number=ALICE, stake_amount=1000)
    said = sentence(answer, 500)
    assert "ZeroDivision" not in said


def test_no_cookie_is_set_or_asked_for(client: Client) -> None:
    answer = post(client, phone_number=ALICE, stake_amount=1000)
    assert not answer.cookies
    assert client.get(f"{STATUS}?queue_token={answer.json()['queue_token']}").headers.get("Vary", "").find("Cookie") < 0


def test_no_cache_stores_a_response_with_credentials(client: Client) -> None:
    placed = post(client, phone_number=ALICE, stake_amount=1000)
    queue_token = placed.json()["queue_token"]
    for answer in (placed, client.get(f"{STATUS}?queue_token={queue_token}")):
        assert "no-store" in answer["Cache-Control"]


def test_the_docs_load_nothing_from_other_hosts(client: Client) -> None:
    page = client.get("/api/docs").content.decode()
    assert "swagger" in page
    assert "//" not in page.replace("http://testserver", "")
    schema = client.get("/api/openapi.json").json()
    match = "/api/v1/game/{game_token}"
    paths = {STAKE, STATUS, match, f"{match}/result", "/api/v1/config", "/api/v1/health", CALLBACK}
    assert set(schema["paths"]) == paths


def test_the_config(client: Client, settings: Any) -> None:
    answer = client.get("/api/v1/config")
    assert answer.json() == {"commission_flat": 0, "min_stake_amount": 1000, "queue_expiry_minutes": 10}
    assert b"10.0" not in answer.content
    settings.QUEUE_EXPIRY_MINUTES = 0.5
    assert client.get("/api/v1/config").json()["queue_expiry_minutes"] == 0.5


def test_the_docs_files_are_served(client: Client) -> None:
    answer = client.get("/static/ninja/swagger-ui.css")
    assert answer.status_code == 200
    assert answer.getvalue()
