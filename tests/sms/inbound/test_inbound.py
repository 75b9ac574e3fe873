"""Inbound SMS: the view, and the effect of STOP and START on messages."""

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client

from sms import inbound, suppression
from sms.dmark.responses import clean
from sms.errors import NeverTexted
from sms.models import SmsInbound, SmsMessage, SmsSuppression
from sms.outbox import queue_sms, resend, send_sms
from sms.sending import claims, pauses
from sms.signals import sms_received
from tests.conftest import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "a-secret-of-the-inbound-url"
PATH = f"/sms/inbound/{SECRET}/"
PHONE, LOCAL = "+256772123456", "256772123456"
Post = Callable[..., int]


@pytest.fixture(autouse=True)
def secret(settings: Any) -> None:
    settings.SMS_INBOUND_SECRET = SECRET


@pytest.fixture
def post(client: Client) -> Post:
    def send(text: str = "STOP", minutes_ago: float = 1, **changes: Any) -> int:
        at = datetime.now(timezone.utc) - timedelta(minutes=minutes_ago)
        fields = {"msisdn": LOCAL, "text": text, "short_code": "8080", "tstamp": at.isoformat()} | changes
        return client.post(PATH, {name: value for name, value in fields.items() if value is not None}).status_code

    return send


def listed() -> dict[str, str]:
    return dict(SmsSuppression.objects.values_list("phone", "source"))


def test_stop_and_start(post: Post) -> None:
    assert post("Stop", 3) == 200
    assert listed() == {PHONE: "stop"}
    assert post("start", 2) == 200
    assert listed() == {}
    assert list(SmsInbound.objects.order_by("pk").values_list("phone", "text", "short_code", "command")) == [
        (PHONE, "Stop", "8080", "stop"),
        (PHONE, "start", "8080", "start"),
    ]


def test_a_repeated_delivery_is_stored_once(post: Post) -> None:
    at = "2026-10-26T15:51:32.906335+00:00"
    for _ in range(3):
        assert post("STOP", tstamp=at) == 200
    assert SmsInbound.objects.count() == 1
    assert listed() == {PHONE: "stop"}


def test_a_late_delivery_does_not_undo_a_later_command(post: Post) -> None:
    post("START", 1)
    post("STOP", 5)
    assert listed() == {}
    assert SmsInbound.objects.count() == 2


def test_a_crash_between_the_row_and_its_effect(post: Post, monkeypatch: Any) -> None:
    at = datetime.now(timezone.utc).isoformat()
    monkeypatch.setattr(inbound, "_obey", lambda phone: None)
    post("STOP", tstamp=at)
    assert listed() == {}
    monkeypatch.undo()
    post("STOP", tstamp=at)
    assert listed() == {PHONE: "stop"}


def test_help_and_other_texts_are_stored(post: Post) -> None:
    received: list[SmsInbound] = []

    def receive(message: SmsInbound, **kwargs: Any) -> None:
        received.append(message)

    sms_received.connect(receive)
    try:
        assert post("HELP") == post("Who are you?\x00\x1b") == 200
    finally:
        sms_received.disconnect(receive)
    assert [(message.command, message.text) for message in received] == [
        ("help", "HELP"),
        ("", clean("Who are you?\x00\x1b")),
    ]
    assert list(SmsInbound.objects.filter(phone=PHONE).order_by("pk")) == received
    assert listed() == {}


@pytest.mark.parametrize("timestamp", ["", None, "yesterday", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_a_timestamp_that_cannot_be_used(post: Post, timestamp: str | None) -> None:
    assert post("STOP", tstamp=timestamp) == 200
    stored = SmsInbound.objects.get()
    assert timedelta() <= stored.received_at - stored.sent_at <= inbound.KEPT
    assert listed() == {PHONE: "stop"}


def test_json_and_names_in_capitals(client: Client) -> None:
    body = json.dumps({"MSISDN": int(LOCAL), "Text": "stop", "short_code": 8080})
    assert client.post(PATH, body, content_type="application/json").status_code == 200
    assert listed() == {PHONE: "stop"}


def test_refusals(client: Client, post: Post, settings: Any) -> None:
    assert post(msisdn="12345") == 400
    assert post(msisdn=None) == 400
    assert client.post(PATH, {"msisdn": LOCAL}).status_code == 400
    assert client.post("/sms/inbound/another-secret-of-some-length/", {"msisdn": LOCAL, "text": "x"}).status_code == 404
    assert client.get(PATH).status_code == 405
    assert post("x" * 70_000) == 413
    settings.SMS_INBOUND_SECRET = ""
    assert post() == 404
    assert SmsInbound.objects.count() == 0


def test_a_flood_is_bounded_and_stop_is_obeyed(post: Post, monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setattr(inbound, "MOST_PER_HOUR", 3)
    for number in range(5):
        assert post(f"hello {number}") == 200
    assert post("STOP") == 200
    assert SmsInbound.objects.count() == 4
    assert listed() == {PHONE: "stop"}
    assert "772123456" not in caplog.text


def test_concurrent_stop_and_start(post: Post) -> None:
    """START was sent after STOP, so the number is not suppressed. The order of the deliveries does not matter."""
    now = datetime.now(timezone.utc)

    def deliver(text: str, at: datetime) -> None:
        inbound.receive(PHONE, text, "8080", at.isoformat())
        connection.close()

    for number in range(5):
        stop, start = now - timedelta(seconds=20 - number), now - timedelta(seconds=19.5 - number)
        threads = [threading.Thread(target=deliver, args=pair) for pair in (("STOP", stop), ("START", start))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert listed() == {}


def test_inbound_messages_are_kept_for_30_days(post: Post, capsys: Any) -> None:
    post("STOP")
    post("hello")
    SmsInbound.objects.filter(text="STOP").update(received_at=datetime.now(timezone.utc) - timedelta(days=31))
    call_command("prune_sms")
    assert list(SmsInbound.objects.values_list("text", flat=True)) == ["hello"]
    assert listed() == {PHONE: "stop"}


# --- sending to a suppressed number


@pytest.fixture
def money(monkeypatch: Any) -> str:
    monkeypatch.setattr(suppression, "_transactional", {"refund"})
    return "refund"


def test_transactional_kinds_reach_a_number_that_asked_to_stop(sandbox: Sandbox, money: str) -> None:
    suppression.stop(PHONE, "asked")
    assert queue_sms(PHONE, "invite", kind="invite").status == "cancelled"
    assert queue_sms(PHONE, "plain").status == "cancelled"
    with pytest.raises(NeverTexted, match="on the suppression list: asked"):
        send_sms(PHONE, "invite", kind="invite")
    assert send_sms(PHONE, "money", kind=money).status == "sent"
    queue_sms(PHONE, "money again", kind=money)
    assert [item["text"] for item in sandbox.inbox()] == ["money again", "money"]


def test_an_operators_entry_stops_everything(sandbox: Sandbox, money: str) -> None:
    suppression.stop(PHONE, "asked")
    suppression.list_by_operator(PHONE, "complained", "alice")
    assert listed() == {PHONE: "operator"}
    assert not suppression.start(PHONE)
    assert not suppression.stop(PHONE, "asked again")
    assert listed() == {PHONE: "operator"}
    assert queue_sms(PHONE, "money", kind=money).status == "cancelled"
    assert sandbox.inbox() == []


def test_a_number_that_stops_after_its_messages_were_queued(sandbox: Sandbox, settings: Any, money: str) -> None:
    settings.SMS_DELIVERY = "worker"
    invite, refund = queue_sms(PHONE, "invite", kind="invite"), queue_sms(PHONE, "money", kind=money)
    suppression.stop(PHONE, "asked")
    assert [row.pk for row in claims.claim("me", 10, 5)] == [refund.pk]
    assert pauses.cancel_suppressed() == 1
    invite.refresh_from_db()
    assert (invite.status, invite.error) == ("cancelled", "This number is on the suppression list: asked")


def test_a_resend_leaves_out_suppressed_messages(sandbox: Sandbox, money: str) -> None:
    sandbox.faults(send="400")
    invite, refund = queue_sms(PHONE, "invite", kind="invite"), queue_sms(PHONE, "money", kind=money)
    sandbox.faults(send="ok")
    suppression.stop(PHONE, "asked")
    assert resend(SmsMessage.objects.filter(pk__in=[invite.pk, refund.pk]), "alice") == [refund.pk]


def test_the_game_marks_its_kinds_about_money_and_matches() -> None:
    assert suppression._transactional >= {"payment_success", "refund_due", "refunded", "match_found", "own_link"}
    assert "private_invite" not in suppression._transactional
    with pytest.raises(ValueError, match="A transactional kind"):
        suppression.register_transactional("it's")


def test_the_secret_is_redacted() -> None:
    from sms.text.redaction import redact

    assert redact(f"POST {PATH} 200") == "POST /sms/inbound/[redacted]/ 200"
