"""A group of failures needs action until its messages are resent or expired, or an operator dismisses it.

An operator can send a test message.
"""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from sms.console import banners
from sms.models import SmsMessage
from sms.outbox import queue_sms
from sms.stats import by_network, failures
from tests.conftest import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/admin/sms/smsmessage/"


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("grace"))
    return client


def shown() -> list[str]:
    return [banner.text for banner in banners.raised()]


def test_inline_a_later_success_does_not_hide_what_was_never_sent(operator: Client, sandbox: Sandbox) -> None:
    sandbox.faults(send="400")
    queue_sms("0772123451", "x", kind="match_found")
    sandbox.faults(send="ok")
    queue_sms("0772123452", "x", kind="match_found")
    (group,) = failures.groups(timezone.now())
    assert (group.over, group.open, group.needs_action) == (True, 1, True)
    assert any(text.startswith("1 × ") for text in shown())
    SmsMessage.objects.filter(status="failed").update(expires_at=timezone.now() - timedelta(seconds=1))
    assert shown() == []


def test_a_dismissed_group_returns_with_the_next_failure(operator: Client, sandbox: Sandbox) -> None:
    sandbox.faults(send="400")
    queue_sms("0772123451", "x", kind="match_found")
    (group,) = failures.groups(timezone.now())
    assert "Dismiss</button>" in operator.get("/admin/sms/").content.decode()
    operator.post(f"{PAGE}dismiss/", {"status": group.status, "reason": group.reason})
    assert shown() == []
    queue_sms("0772123452", "x", kind="match_found")
    assert any(text.startswith("2 × ") for text in shown())
    assert operator.get(f"{PAGE}dismiss/").status_code == 400
    assert operator.post(f"{PAGE}dismiss/", {"status": "x"}).status_code == 400


def test_a_test_text_is_sent_and_shown(operator: Client, sandbox: Sandbox) -> None:
    assert "is not" in operator.post(f"{PAGE}test/", {"phone": "+254712345678"}).content.decode()
    page = operator.post(f"{PAGE}test/", {"phone": "0772 123 451"}, follow=True).content.decode()
    (sms,) = sandbox.inbox()
    assert sms["text"].startswith("Test message from PlayMatatu, ")
    assert "Accepted by" in page


def test_both_need_the_permission_to_resend(client: Client, sandbox: Sandbox) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_smsmessage"))
    client.force_login(viewer)
    assert client.post(f"{PAGE}test/", {"phone": "0772123451"}).status_code == 403
    assert client.post(f"{PAGE}dismiss/", {"status": "failed"}).status_code == 403
    assert sandbox.inbox() == []


def _texts(phone: str, minutes: float, count: int, **values: Any) -> None:
    at = timezone.now() - timedelta(minutes=minutes)
    fields: dict[str, Any] = {"phone": phone, "text": "x", "created_at": at, "sent_at": at, "expires_at": at}
    SmsMessage.objects.bulk_create(SmsMessage(**fields | values) for _ in range(count))


def test_reported_failures_count_at_once_and_two_networks_are_one_banner(sandbox: Sandbox) -> None:
    _texts("+256772123456", 1, 12, status="undelivered")
    assert [one.network for one in by_network.in_trouble(timezone.now())] == ["mtn"]
    _texts("+256701123456", 1, 12, status="undelivered")
    (concern,) = by_network.concerns(by_network.in_trouble(timezone.now()))
    assert "100% of the last 24 texts to Airtel and MTN were late or not delivered." in concern.text
