"""The console in a real browser, with a wide and with a narrow window."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Browser

from sms.models import SmsMessage
from tests.browsing import fits, log_in, tab
from tests.conftest import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def failed_texts(sandbox: Sandbox) -> None:
    # Queried before the browser starts: Django refuses queries while the browser's event loop runs.
    User.objects.create_superuser("operator", password="secret-of-operator")
    now = timezone.now()
    for number in range(3):
        SmsMessage.objects.create(
            phone=f"+25677212345{number}",
            text="Payment of 1000 UGX received. Searching for opponent...",
            kind="payment_success",
            status="failed",
            error="DMark is in trouble (503).",
            created_at=now - timedelta(minutes=number),
            expires_at=now + timedelta(hours=1),
        )


@pytest.mark.parametrize("width", [1280, 360])
def test_a_complaint_is_answered(
    failed_texts: None, browser: Browser, live_server: Any, sandbox: Sandbox, width: int
) -> None:
    """Log in, read the overview, search a number, open the message, resend it, and see who resent it."""
    page = tab(browser, {"width": width, "height": 800})
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)

    log_in(page, f"{live_server.url}/admin/", "operator")
    page.get_by_role("link", name="3 × DMark is in trouble (503).").wait_for()
    page.get_by_role("link", name="SMS delivery report").click()
    page.get_by_role("img", name="Texts per hour, last day").wait_for()
    assert fits(page, width)

    page.get_by_label("Find texts").fill("0772 123 451")
    page.locator(".sms-search").get_by_role("button", name="Search").click()
    page.get_by_text("1 result", exact=False).first.wait_for()
    page.get_by_role("link", name="0772 123 451").click()
    page.get_by_role("heading", name="Timeline").wait_for()
    assert fits(page, width)
    page.get_by_role("button", name="Resend…").click()
    page.get_by_text("1 selected").wait_for()
    assert sandbox.sends == 0
    page.get_by_role("button", name="Resend 1").click()
    page.get_by_text("1 queued to be resent.").wait_for()
    assert [sms["to"] for sms in sandbox.inbox()] == ["0772123451"]
    page.goto(f"{live_server.url}/admin/sms/smsmessage/?q=0772123451")
    page.get_by_role("link", name="0772 123 451").click()
    page.get_by_text("Resent by operator").wait_for()
    assert complaints == []
