"""Authenticated callbacks are stored before they are processed. Secrets can be changed in two steps."""

import json
from typing import Any

import pytest
from django.test import Client

from payments.models import Callback, Payment
from payments.signals import payment_contested
from tests.game_helpers import CALLBACK, callback, signature
from tests.payments.helpers import PHONE, fresh, pay, settle

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def payment(settings: Any) -> Payment:
    settings.MOMO_AUTO_APPROVE = False
    return pay()


def body(payment: Payment, **changes: Any) -> dict[str, Any]:
    said = {"transaction_id": payment.transaction_id, "phone_number": PHONE, "amount": 1000, "status": "SUCCESS"}
    return {key: value for key, value in {**said, **changes}.items() if value is not ...}


UNREADABLE = [
    (b"{", "The body is not valid JSON."),
    (b"[]", "The body must be a JSON object."),
    (b"\xff\xfe\x00", "The body is not valid JSON."),
    (b'{"amount": NaN}', "The body is not valid JSON."),
    (b"{}", "transaction_id is required."),
    (b'{"transaction_id": "a\\u0000"}', "transaction_id must not hold control characters."),
]


@pytest.mark.parametrize(("raw", "why"), UNREADABLE)
def test_what_cannot_be_read_is_kept(client: Client, caplog: Any, raw: bytes, why: str) -> None:
    answer = callback(client, raw)
    assert (answer.status_code, answer.json()["error"]) == (400, why)
    kept = Callback.objects.get()
    assert (kept.answered, kept.refusal, kept.status, kept.payment, kept.applied) == (400, why, "", None, False)
    assert kept.body == raw.decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    assert why in caplog.text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"status": "DONE"}, 400),
        ({"amount": "a lot"}, 400),
        ({"amount": "1000.50"}, 400),
        ({"amount": 1001}, 409),
        ({"amount": 10**9}, 409),
        ({"phone_number": "0772000002"}, 409),
        ({"transaction_id": "unknown"}, 404),
        ({}, 200),
    ],
)
def test_each_is_kept_with_our_answer(client: Client, payment: Payment, changes: dict[str, Any], code: int) -> None:
    raw = json.dumps(body(payment, **changes), indent=2).encode()
    assert callback(client, raw).status_code == code
    kept = Callback.objects.get()
    assert (kept.body, kept.answered, bool(kept.refusal), kept.applied) == (
        raw.decode(),
        code,
        code != 200,
        code == 200,
    )
    assert (kept.payment == payment) == (code in (200, 409))


def test_a_crash_while_judging_leaves_the_callback(client: Client, payment: Payment, monkeypatch: Any) -> None:
    """dj-stripe/dj-stripe#832: an event was stored, processing failed, and its repeat was ignored as a duplicate."""
    with monkeypatch.context() as broken:
        broken.setattr("payments.webhooks._apply", lambda *args, **kwargs: 1 / 0)
        assert callback(Client(raise_request_exception=False), body(payment)).status_code == 500
    assert (Callback.objects.get().applied, fresh(payment).status) == (False, "PENDING")
    assert callback(client, body(payment)).status_code == 200
    assert fresh(payment).status == "SUCCESS"


WORDS = {
    "SUCCESS": "SUCCESS successful Completed",
    "FAILED": "FAILED failure Rejected DECLINED cancelled EXPIRED",
    "PENDING": "PENDING processing",
}


@pytest.mark.parametrize(
    ("word", "status"), [(word, status) for status, words in WORDS.items() for word in words.split()]
)
def test_the_words(client: Client, payment: Payment, word: str, status: str) -> None:
    assert callback(client, body(payment, status=word)).status_code == 200
    assert fresh(payment).status == status


def test_a_secret_is_changed_in_two_steps(client: Client, payment: Payment, settings: Any) -> None:
    old, new = settings.MOMO_CALLBACK_SECRET, "the-secret-from-next-week-on"
    raw = json.dumps(body(payment, status="PENDING")).encode()
    signed = signature(raw)
    settings.MOMO_CALLBACK_SECRET, settings.MOMO_CALLBACK_SECRET_FALLBACKS = new, [old, ""]
    for headers in ({"X-Callback-Secret": old}, {"X-Callback-Secret": new}, {"X-Callback-Signature": signed}):
        assert callback(client, raw, **headers).status_code == 200
    assert callback(client, raw, **{"X-Callback-Secret": ""}).status_code == 403
    settings.MOMO_CALLBACK_SECRET_FALLBACKS = []
    assert callback(client, raw, **{"X-Callback-Secret": old}).status_code == 403
    assert callback(client, raw, **{"X-Callback-Signature": signed}).status_code == 403


@pytest.mark.parametrize("change", [str.upper, str.title, lambda text: f"  {text} "])
def test_a_signature_in_capitals(client: Client, payment: Payment, change: Any) -> None:
    raw = json.dumps(body(payment)).encode()
    answer = client.post(
        CALLBACK, raw, content_type="application/json", headers={"X-Callback-Signature": change(signature(raw))}
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(("first", "second"), [("SUCCESS", "FAILED"), ("FAILED", "SUCCESS")])
def test_a_contradiction_is_marked_and_told(
    client: Client, payment: Payment, caplog: Any, first: str, second: str
) -> None:
    told: list[str] = []

    def note(payment: Payment, said: str, **kwargs: Any) -> None:
        told.append(said)

    payment_contested.connect(note)
    try:
        for word in (first, first, second, second):
            assert callback(client, body(payment, status=word)).status_code == 200
    finally:
        payment_contested.disconnect(note)
    payment = fresh(payment)
    assert (payment.status, payment.contested, payment.refund_due) == (first, True, second == "SUCCESS")
    # Each repeated callback sends the signal again, because a receiver may have failed the first time.
    assert told == [second, second]
    assert caplog.text.count("is contested") == 1
    assert [kept.applied for kept in Callback.objects.order_by("pk")] == [True, False, False, False]


def test_money_behind_an_approved_payment(client: Client, payment: Payment) -> None:
    """The stake was approved without money. If money arrives anyway, it must be booked."""
    Payment.objects.update(status="SUCCESS")
    assert callback(client, body(payment)).status_code == 200
    assert fresh(payment).collected_at is not None
    settle(payment.pk, Payment.Status.SUCCESS, by="callback")
    assert not fresh(payment).contested
