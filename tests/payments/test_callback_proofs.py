"""Authentication of callbacks, the order of the refusals, and the data that is stored."""

import json
from typing import Any

import pytest
from django.test import Client

from payments.models import Callback, Payment
from sms.models import SmsMessage
from tests.game_helpers import ALICE, BOB, CALLBACK, callback, callback_body, signature, stake

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def collected(settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False


def test_proofs(client: Client, settings: Any) -> None:
    placed = stake(client, ALICE)
    raw = json.dumps(callback_body(placed, ALICE)).encode()
    no_proof = client.post(CALLBACK, raw, content_type="application/json")
    assert no_proof.status_code == 403
    assert callback(client, raw, **{"X-Callback-Secret": "wrong"}).status_code == 403
    assert callback(client, raw, **{"X-Callback-Signature": signature(raw + b" ")}).status_code == 403
    assert callback(client, raw, **{"X-Callback-Secret": "é"}).status_code == 403
    assert not SmsMessage.objects.exists()
    assert callback(client, raw, **{"X-Callback-Signature": signature(raw)}).status_code == 200
    settings.MOMO_CALLBACK_SECRET = ""
    assert client.post(CALLBACK, raw, content_type="application/json").status_code == 403
    settings.DEBUG = True
    assert client.post(CALLBACK, raw, content_type="application/json").status_code == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"transaction_id": "unknown"}, 404),
        ({"transaction_id": ...}, 400),
        ({"transaction_id": 5}, 400),
        ({"transaction_id": "a\x00"}, 400),
        ({"phone_number": ...}, 400),
        ({"phone_number": "words"}, 400),
        ({"phone_number": BOB}, 409),
        ({"amount": ...}, 400),
        ({"amount": 999}, 409),
        ({"amount": 1000.0}, 200),
        ({"amount": "1000.00"}, 200),
        ({"amount": 1000.5}, 400),
        ({"amount": "1000.50"}, 400),
        ({"amount": 1001}, 409),
        ({"amount": 10_000}, 409),
        ({"amount": True}, 400),
        ({"amount": "1000"}, 200),
        ({"amount": 10**30}, 400),
        ({"status": ...}, 400),
        ({"status": "DONE"}, 400),
        ({"status": 1}, 400),
        ({"status": "success"}, 200),
        ({"status": "Successful"}, 200),
        ({"status": "COMPLETED"}, 200),
        ({"timestamp": ...}, 200),
        ({"timestamp": None}, 200),
        ({"phone_number": "+256 772-000-001"}, 200),
        ({"phone_number": "772000001"}, 200),
        ({"phone_number": "00256772000001"}, 200),
    ],
)
def test_refusals(client: Client, changes: dict[str, Any], code: int) -> None:
    placed = stake(client, ALICE)
    answer = callback(client, callback_body(placed, ALICE, **changes))
    assert answer.status_code == code, answer.content
    assert code == 200 or answer.json()["error"]
    assert Payment.objects.get().status == ("SUCCESS" if code == 200 else "PENDING")


def test_the_order_of_refusals(client: Client) -> None:
    huge = b"x" * 70_000
    assert client.post(CALLBACK, huge, content_type="text/plain").status_code == 413
    assert client.post(CALLBACK, b"x", content_type="text/plain").status_code == 415
    assert client.post(CALLBACK, b"x", content_type="application/json").status_code == 403
    assert callback(client, b"x").status_code == 400
    assert callback(client, b"[]").status_code == 400
    assert client.get(CALLBACK).status_code == 405


@pytest.mark.parametrize(
    ("changes", "code", "refusal"),
    [
        ({"transaction_id": "x" * 500}, 404, "We know no such transaction."),
        ({"amount": 500}, 409, "The amount is not that of this transaction."),
        ({"phone_number": BOB}, 409, "The phone number is not that of this transaction."),
    ],
)
def test_a_refused_callback_is_kept_for_the_operator(
    client: Client, caplog: Any, changes: dict[str, Any], code: int, refusal: str
) -> None:
    """A refused callback may report money: a payment of another amount, or a payment whose row was lost."""
    placed = stake(client, ALICE)
    raw = json.dumps(callback_body(placed, ALICE, **changes), indent=3).encode()
    assert callback(client, raw).json() == {"error": refusal, "fields": {}}
    kept = Callback.objects.get()
    assert (kept.status, kept.applied, kept.refusal, kept.body) == ("SUCCESS", False, refusal, raw.decode())
    assert (kept.payment is None) == (code == 404)
    assert refusal in caplog.text
    # Without authentication nothing is stored, because anybody could fill the table.
    assert client.post(CALLBACK, raw, content_type="application/json").status_code == 403
    assert Callback.objects.count() == 1


def test_callbacks_are_stored_as_they_came(client: Client) -> None:
    placed = stake(client, ALICE)
    raw = json.dumps(
        callback_body(placed, ALICE, reason="ŋ\nline", extra={"a": [1]}), indent=2, ensure_ascii=False
    ).encode()
    for _ in range(2):
        assert callback(client, raw).status_code == 200
    assert list(Callback.objects.order_by("pk").values_list("body", "applied")) == [
        (raw.decode(), True),
        (raw.decode(), False),
    ]


def test_the_proof_is_asked_for_under_any_prefix(client: Client) -> None:
    """Callbacks must be authenticated even if the site is mounted below a path."""
    placed = stake(client, ALICE)
    raw = json.dumps(callback_body(placed, ALICE)).encode()
    answer = client.post(CALLBACK, raw, content_type="application/json", SCRIPT_NAME="/play")
    assert answer.status_code == 403
    assert client.post(CALLBACK, raw, content_type="text/plain", SCRIPT_NAME="/play").status_code == 415


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Callback-Secret": ""},
        {"X-Callback-Secret": "callback-secret-for-tests "[:-2]},
        {"X-Callback-Secret": "CALLBACK-SECRET-FOR-TESTS"},
        {"X-Callback-Signature": ""},
        {"X-Callback-Signature": "sha256="},
        {"X-Callback-Signature": "callback-secret-for-tests"},
        {"X-Callback-Signature": "sha1=" + "0" * 40},
        {"Authorization": "Bearer callback-secret-for-tests"},
    ],
    ids=str,
)
def test_what_is_no_proof(client: Client, headers: dict[str, str]) -> None:
    placed = stake(client, ALICE)
    answer = callback(client, callback_body(placed, ALICE), **headers)
    assert answer.status_code == 403
    assert answer.json()["error"]
    assert Payment.objects.get().status == "PENDING"


def test_a_wrong_secret_beside_a_right_signature(client: Client) -> None:
    raw = json.dumps(callback_body(stake(client, ALICE), ALICE)).encode()
    assert (
        callback(client, raw, **{"X-Callback-Secret": "old", "X-Callback-Signature": signature(raw)}).status_code == 200
    )
