"""Failures grouped by status and reason, and the end of a problem."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from sms.console import banners
from sms.models import SmsEvent, SmsMessage
from sms.outbox import queue_sms, resend
from sms.stats import failures
from tests.conftest import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

REFUSED = "DMark refuses the message (400): Invalid message format."


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator", password="x"))
    return client


def text(minutes: float, status: str = "failed", error: str = REFUSED, http: int | None = 400, **values: Any) -> int:
    """Create a message whose sending ended this number of minutes ago. Return its id."""
    at = timezone.now() - timedelta(minutes=minutes)
    fields: dict[str, Any] = {"phone": "+256772123456", "text": "x", "kind": "match_found", "created_at": at}
    if status in ("sent", "delivered"):
        error, http, fields["sent_at"] = "", 200, at
    if status == "delivered":
        fields["delivered_at"] = at
    fields |= {"expires_at": at + timedelta(hours=1), "status": status, "error": error, **values}
    message = SmsMessage.objects.create(**fields)
    SmsEvent.objects.create(message=message, at=at, what="attempt", step="send", http_status=http, error=error)
    return message.pk


def going_on() -> list[tuple[str, int]]:
    return [(group.title, group.count) for group in failures.groups(timezone.now()) if not group.over]


def test_equal_reasons_are_one_group_and_its_link_lists_those_texts(operator: Client, sandbox: Sandbox) -> None:
    mine = {text(3), text(2), text(1, kind="private_invite")}
    text(1, error="DMark is in trouble (503).", http=503)
    text(1, status="undelivered")
    text(60 * 25)
    (banner,) = [banner for banner in banners.raised() if banner.text.startswith("3 ×")]
    assert banner.text == f"3 × {REFUSED}"
    assert "1.0 s" not in banner.remedy
    answer = operator.get(banner.url)
    assert {message.pk for message in answer.context["cl"].result_list} == mine
    assert f'href="{banner.url.replace("&", "&amp;")}"' in operator.get("/admin/").content.decode()
    assert REFUSED in operator.get("/admin/sms/").content.decode()


def test_what_is_one_texts_own_makes_no_group_of_its_own(operator: Client, sandbox: Sandbox) -> None:
    mine = {
        text(1, status="rate_limited", error=f"Rate limit: this phone had a text; try again in {seconds} s.", http=None)
        for seconds in (7, 30)
    }
    text(1, status="rate_limited", error="Rate limit: something else.", http=None)
    (group,) = [group for group in failures.groups(timezone.now()) if group.count == 2]
    assert group.title == "Rate limit: this phone had a text; try again in … s."
    answer = operator.get(banners.failed_url(group))
    assert {message.pk for message in answer.context["cl"].result_list} == mine


def test_a_reason_may_be_any_words(operator: Client, sandbox: Sandbox) -> None:
    for error in ("50% [off] (a|b) … \\d+ 'x' \"y\" 123456", "", "<script>alert(1)</script>"):
        pk = text(1, error=error)
        (group,) = [one for one in failures.groups(timezone.now()) if one.reason == failures.reason(error)]
        answer = operator.get(banners.failed_url(group))
        assert [message.pk for message in answer.context["cl"].result_list] == [pk]
        assert "<script>alert" not in answer.content.decode()


@pytest.mark.parametrize(
    ("success", "over"),
    [
        ({"status": "sent", "minutes": 5}, False),
        ({"status": "sent", "minutes": 1, "kind": "private_invite"}, False),
        ({"status": "sent", "minutes": 1}, True),
        ({"status": "delivered", "minutes": 1}, True),
    ],
)
def test_a_refused_kind_is_over_when_its_like_is_taken(success: dict[str, Any], over: bool) -> None:
    text(3)
    text(**success)
    assert (going_on() == []) == over


def test_dmarks_own_trouble_is_over_with_any_success() -> None:
    text(3, error="DMark is in trouble (503).", http=503)
    text(2, error="DMark refuses the credentials (401).", http=401)
    assert len(going_on()) == 2
    text(1, status="sent", kind="private_invite")
    assert going_on() == []


def test_the_network_is_well_again_when_something_arrives() -> None:
    pk = text(3, status="undelivered", error="DMark could not deliver it (FAILED).", http=200)
    SmsEvent.objects.create(
        message_id=pk, at=timezone.now() - timedelta(minutes=2), what="report", answer="FAILED", step="push"
    )
    text(1, status="sent")
    assert going_on() == [("DMark could not deliver it (FAILED).", 1)]
    text(1, status="delivered")
    assert going_on() == []


def test_it_comes_back_when_it_fails_again() -> None:
    text(3)
    text(2, status="sent")
    assert going_on() == []
    text(1)
    assert going_on() == [(REFUSED, 2)]


def test_what_was_sent_again_is_gone_from_its_group(sandbox: Sandbox) -> None:
    sandbox.faults(send="400")
    for number in range(2):
        queue_sms(f"077212345{number}", "hello", kind="match_found")
    sandbox.faults(send="ok")
    ((title, count),) = going_on()
    assert title.startswith("DMark refuses the message (400)")
    assert count == 2
    resend(SmsMessage.objects.all(), actor="grace")
    assert failures.groups(timezone.now()) == []


def test_few_queries_however_many_reasons(django_assert_max_num_queries: Any) -> None:
    for number in range(40):
        text(1, error=f"Reason {number}", kind=f"kind{number % 3}")
    with django_assert_max_num_queries(8):
        assert len(failures.groups(timezone.now())) == 40
