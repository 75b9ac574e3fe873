"""Owners (the apps that queue messages) decide if messages are still worth sending, many in one call."""

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from sms import outbox, owners
from sms.models import SmsMessage
from tests.conftest import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


def no_links(message: SmsMessage) -> list[owners.Link]:
    return []


@pytest.fixture
def asked() -> Iterator[list[list[str]]]:
    """Register an owner of `news:` messages that wants only even numbers. Yields the references of each call."""
    calls: list[list[str]] = []

    def worth(messages: Collection[owners.Referenced]) -> set[int]:
        calls.append([message.dedupe_key or "" for message in messages])
        return {message.pk for message in messages if int((message.dedupe_key or "").split(":")[1]) % 2 == 0}

    owners.register("news", no_links, worth)
    yield calls
    owners.register("news", no_links)


def text(key: str | None, **values: Any) -> SmsMessage:
    expires_at = timezone.now() + timedelta(hours=1)
    fields = {"phone": "+256772123456", "text": "hello", "status": "failed", "dedupe_key": key}
    return SmsMessage.objects.create(**{**fields, "expires_at": expires_at, **values})


def test_each_app_is_asked_once_for_its_own(asked: list[list[str]]) -> None:
    messages = [text(key) for key in ("news:1", "news:2", None, "other:3", "news:4", "newsletter:5")]
    assert owners.worth_sending(messages) == {message.pk for message in messages[1:]}
    assert asked == [["news:1", "news:2", "news:4"]]


def test_messages_without_an_owner_are_worth_sending(asked: list[list[str]]) -> None:
    messages = [text(None), text("other:1")]
    assert owners.worth_sending(messages) == {message.pk for message in messages}
    assert owners.worth_sending([]) == set()
    assert asked == []


def test_an_owner_that_fails_loses_no_message(caplog: Any) -> None:
    def broken(messages: Collection[owners.Referenced]) -> set[int]:
        raise RuntimeError("no answer")

    owners.register("news", no_links, broken)
    message = text("news:1")
    assert owners.worth_sending([message]) == {message.pk}
    assert "news" in caplog.text
    owners.register("news", no_links)


def test_a_resend_skips_messages_no_longer_wanted(sandbox: Sandbox, asked: list[list[str]], monkeypatch: Any) -> None:
    monkeypatch.setattr(outbox, "_CHUNK", 3)
    messages = [text(f"news:{number}", phone=f"+25677200000{number}") for number in range(7)]
    even = [message.pk for message in messages[::2]]
    assert sorted(outbox.worth_resending(SmsMessage.objects.all())) == even
    assert [len(call) for call in asked] == [3, 3, 1]
    assert sorted(outbox.resend(SmsMessage.objects.all(), "operator")) == even
    assert len(sandbox.inbox()) == 4
    assert SmsMessage.objects.filter(status="failed").count() == 3


def test_the_preview_counts_them(client: Client, sandbox: Sandbox, asked: list[list[str]]) -> None:
    client.force_login(User.objects.create_superuser("operator", password="x"))
    messages = [text("news:1"), text("news:2"), text("news:3"), text(None, status="sent")]
    body: dict[str, Any] = {"action": "resend", "_selected_action": [message.pk for message in messages]}
    preview = client.post("/admin/sms/smsmessage/", body).content.decode()
    assert "4 selected, <b>1</b> can be resent." in preview
    assert "2 skipped: no longer relevant" in preview
    client.post("/admin/sms/smsmessage/", {**body, "post": "yes"})
    assert len(sandbox.inbox()) == 1
