"""An operator's actions: pause and resume, cancel, resend by reason, and list numbers that must not be texted."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from sms.models import SmsEvent, SmsMessage, SmsPause, SmsSuppression
from sms.outbox import queue_sms
from tests.conftest import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/sms/smsmessage/"
PHONE, OTHER = "+256772123456", "+256701123456"
REFUSED = "DMark refuses the message (400): Invalid message format."


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("grace", password="x"))
    return client


def text(**values: Any) -> SmsMessage:
    now = timezone.now()
    fields: dict[str, Any] = {
        "phone": PHONE,
        "text": "hello",
        "kind": "match_found",
        "status": "failed",
        "error": REFUSED,
    }
    fields |= {"created_at": now, "expires_at": now + timedelta(hours=1), "segments": 1}
    return SmsMessage.objects.create(**{**fields, **values})


def html(answer: Any) -> str:
    assert answer.status_code == 200, answer
    return str(answer.content.decode())


def logged() -> list[tuple[str, str]]:
    return [(entry.user.get_username(), entry.get_change_message()) for entry in LogEntry.objects.order_by("pk")]


# --- pause and resume


def test_pausing_and_resuming_in_the_admin(operator: Client, sandbox: Sandbox) -> None:
    text(kind="private_invite")
    form = html(operator.get("/admin/sms/smspause/add/"))
    assert '<option value="private_invite">private_invite texts</option>' in form
    operator.post("/admin/sms/smspause/add/", {"kind": "private_invite", "reason": ""})
    assert not SmsPause.objects.exists()
    operator.post("/admin/sms/smspause/add/", {"kind": "*", "reason": "Wrong amounts"})
    hold = SmsPause.objects.get()
    assert (hold.kind, hold.actor, hold.reason) == ("*", "grace", "Wrong amounts")
    message = queue_sms(PHONE, "hello")
    overview = html(operator.get("/admin/sms/"))
    assert "Sending of all texts is paused by grace: Wrong amounts" in overview
    assert f'href="/admin/sms/smspause/{hold.pk}/delete/">Resume all texts…</a>' in overview
    assert "Resume sending" in html(operator.get(f"/admin/sms/smspause/{hold.pk}/delete/"))
    answer = operator.post(f"/admin/sms/smspause/{hold.pk}/delete/", {"post": "yes"}, follow=True)
    assert "sms_worker --once" in html(answer)
    assert not SmsPause.objects.exists()
    message.refresh_from_db()
    assert message.status == "queued"
    assert [name for name, _ in logged()] == ["grace", "grace"]


def test_one_pause_of_a_kind_is_enough(operator: Client) -> None:
    for _ in range(2):
        answer = operator.post("/admin/sms/smspause/add/", {"kind": "*", "reason": "again"})
    assert "already exists" in html(answer)
    assert SmsPause.objects.count() == 1


# --- cancel


def act(client: Client, action: str, *messages: SmsMessage, path: str = LIST, **fields: Any) -> Any:
    ids = [message.pk for message in messages]
    return client.post(path, {"action": action, "_selected_action": ids, **fields}, follow=True)


def test_cancelling_asks_why_and_says_how_many(operator: Client, sandbox: Sandbox) -> None:
    waiting, sent = text(status="queued"), text(status="sent")
    assert "2 selected. <b>1</b> still waiting" in html(act(operator, "cancel", waiting, sent))
    assert "Please give a reason" in html(act(operator, "cancel", waiting, sent, post="yes", reason=" \0"))
    waiting.refresh_from_db()
    assert waiting.status == "queued"
    assert "1 cancelled." in html(act(operator, "cancel", waiting, sent, post="yes", reason="Wrong amount"))
    waiting.refresh_from_db()
    assert (waiting.status, waiting.error) == ("cancelled", "Wrong amount")
    assert SmsEvent.objects.get(message=waiting).actor == "grace"
    assert logged() == [("grace", "Cancelled: Wrong amount")]
    page = html(operator.get(f"{LIST}{waiting.pk}/change/"))
    assert "Cancelled by grace" in page
    assert "Cancelled: Wrong amount" in html(operator.get(f"{LIST}{waiting.pk}/history/"))


def test_one_waiting_text_has_its_button(operator: Client) -> None:
    waiting, failed = text(status="queued"), text()
    assert "Cancel…" in html(operator.get(f"{LIST}{waiting.pk}/change/"))
    assert "Cancel…" not in html(operator.get(f"{LIST}{failed.pk}/change/"))


def test_all_of_a_list_without_a_field_for_each(operator: Client, sandbox: Sandbox) -> None:
    """Django accepts at most 1,000 form fields."""
    now = timezone.now()
    rows = [
        SmsMessage(phone=PHONE, text="x", status="queued", kind="a", expires_at=now + timedelta(hours=1))
        for _ in range(1100)
    ]
    SmsMessage.objects.bulk_create([*rows, SmsMessage(phone=PHONE, text="x", kind="b", expires_at=now)])
    first, path = SmsMessage.objects.filter(kind="a").first(), f"{LIST}?kind=a"
    assert first
    asked = html(act(operator, "cancel", first, path=path, select_across="1"))
    assert "1100 selected. <b>1100</b>" in asked
    assert asked.count('name="_selected_action"') == 1
    assert 'action="/admin/sms/smsmessage/?kind=a"' in asked
    done = act(operator, "cancel", first, path=path, select_across="1", post="yes", reason="Wrong")
    assert "1,100 cancelled." in html(done)
    assert SmsMessage.objects.exclude(status="cancelled").get().kind == "b"


# --- resend by reason


def again(client: Client, **order: str) -> Any:
    method = client.post if "post" in order else client.get
    return method(f"{LIST}resend/", {"status": "failed", "reason": REFUSED, "since": "", **order}, follow=True)


def test_all_that_failed_since_a_time_for_a_reason(operator: Client, sandbox: Sandbox, settings: Any) -> None:
    settings.SMS_SEGMENT_COST_UGX = 35
    hour_ago = timezone.now() - timedelta(hours=1)
    mine = [text(segments=2), text(phone=OTHER)]
    text(error="DMark is in trouble (503).")
    text(created_at=hour_ago)
    text(status="undelivered")
    SmsSuppression.objects.create(phone="+256752999999", reason="complained")
    text(phone="+256752999999")
    text(text="Play: http://x/g/t?pt=[redacted]")
    since = f"{timezone.localtime(hour_ago) + timedelta(minutes=30):%Y-%m-%d %H:%M}"
    shown = html(again(operator, since=since))
    assert "4 found, <b>2</b> can be resent." in shown
    # An empty reason selects every reason. The form is empty when it opens.
    assert "5 found, <b>3</b> can be resent." in html(again(operator, since=since, reason=""))
    assert "<li>1 skipped: to a number on the do-not-text list</li>" in shown
    assert "<li>1 skipped: content erased or link expired</li>" in shown
    assert sandbox.sends == 0
    assert "2 queued to be resent." in html(again(operator, since=since, post="yes"))
    assert {sms["to"] for sms in sandbox.inbox()} == {"0772123456", "0701123456"}
    assert SmsEvent.objects.filter(what="resend", actor="grace", message__in=mine).count() == 2
    assert logged() == [("grace", "Resent.")] * 2


def test_what_may_arrive_twice_is_said(operator: Client, sandbox: Sandbox) -> None:
    text(status="unknown", error="DMark did not answer in time.")
    shown = html(again(operator, status="unknown", reason="DMark did not answer in time."))
    assert "1 could arrive twice:" in shown


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"since": "25:99"}, "Enter a valid date/time."),
        ({"since": "yesterday"}, "Enter a valid date/time."),
        ({"since": "2026-02-31 10:00"}, "Enter a valid date/time."),
        ({"status": "delivered"}, "Select a valid choice."),
        ({"status": "<script>"}, "Select a valid choice."),
    ],
)
def test_an_order_that_cannot_be_read(operator: Client, order: dict[str, str], words: str) -> None:
    shown = html(again(operator, **order))
    assert words in shown
    assert 'value="Resend' not in shown
    assert "<script>" not in shown[shown.index("sms-form") :]


def test_inline_so_many_at_once_and_the_rest_later(operator: Client, sandbox: Sandbox, monkeypatch: Any) -> None:
    monkeypatch.setattr("sms.console.actions._INLINE", 2)
    for _ in range(5):
        text()
    assert "Run it again for the remaining 3." in html(again(operator))
    assert "2 queued to be resent. Run it again for the remaining 3." in html(again(operator, post="yes"))
    assert SmsMessage.objects.filter(status="sent").count() == 2


def test_the_overview_leads_there(operator: Client, sandbox: Sandbox) -> None:
    text()
    overview = html(operator.get("/admin/sms/"))
    link = overview[overview.index("/admin/sms/smsmessage/resend/?") :].split('"')[0].replace("&amp;", "&")
    assert "1 found, <b>1</b>" in html(operator.get(link))


# --- suppression list


def test_a_number_is_listed_in_any_notation_and_what_waits_for_it_is_cancelled(operator: Client) -> None:
    waiting = text(status="queued")
    answer = operator.post(
        "/admin/sms/smssuppression/add/", {"phone": "0772 123-456", "reason": "complained"}, follow=True
    )
    assert "1 waiting for this number cancelled." in html(answer)
    listed = SmsSuppression.objects.get()
    assert (listed.phone, listed.actor) == (PHONE, "grace")
    waiting.refresh_from_db()
    assert (waiting.status, waiting.error) == ("cancelled", "This number is on the suppression list: complained")
    for term in ("0772123456", "+256 772 123456", "772123456"):
        assert "0772 123 456" in html(operator.get("/admin/sms/smssuppression/", {"q": term}))
    assert "0772 123 456" not in html(operator.get("/admin/sms/smssuppression/", {"q": "0701123456"}))
    assert "is not" in html(operator.post("/admin/sms/smssuppression/add/", {"phone": "+254712345678", "reason": "x"}))
    operator.post(f"/admin/sms/smssuppression/{listed.pk}/delete/", {"post": "yes"})
    assert not SmsSuppression.objects.exists()
    assert len(logged()) == 2


# --- permissions


def test_each_act_has_its_permission(client: Client, sandbox: Sandbox) -> None:
    viewer = User.objects.create_user("viewer", password="x", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_smsmessage"))
    client.force_login(viewer)
    waiting, failed = text(status="queued"), text()
    act(client, "cancel", waiting, post="yes", reason="x")
    assert again(client, post="yes").status_code == 403
    for path in ("smspause/add/", "smssuppression/add/", "smssuppression/"):
        assert client.get(f"/admin/sms/{path}").status_code == 403
    overview = html(client.get("/admin/sms/"))
    for words in ("Pause sending", "Resend failed texts", "Do-not-text", "resend…"):
        assert words not in overview, words
    waiting.refresh_from_db()
    failed.refresh_from_db()
    assert (waiting.status, failed.status) == ("queued", "failed")
    for codename in ("cancel_smsmessage", "resend_smsmessage"):
        viewer.user_permissions.add(Permission.objects.get(codename=codename))
    act(client, "cancel", waiting, post="yes", reason="x")
    again(client, post="yes")
    assert sorted(SmsMessage.objects.values_list("status", flat=True)) == ["cancelled", "sent"]
