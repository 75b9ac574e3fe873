"""The operator at a desk and on a phone: search, timeline, and actions."""

import os
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, Page

from game.models import Entry
from sms.models import SmsMessage
from tests.conftest import Sandbox
from tests.game_helpers import ALICE, BOB, CAROL, age, paid, paid_stake, stake

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def evening(sandbox: Sandbox, settings: Any) -> Entry:
    """A match, a stake that nobody joined, a payment that failed, and texts that DMark refused."""
    settings.MOMO_AUTO_APPROVE = False
    # Before the browser: where its event loop runs Django refuses to be asked for the database.
    User.objects.create_superuser("grace", password="secret-of-grace")
    client = Client()
    paid_stake(client, BOB, 2000)
    paid_stake(client, CAROL, 2000)
    alone = paid_stake(client, ALICE, 5000, create_private=True, invite_phone=BOB)
    age(pk=alone.pk)
    sandbox.faults(send="400")
    placed = stake(client, ALICE, 3000)
    paid(client, placed, ALICE, "FAILED")
    sandbox.faults(send="ok")
    return alone


@pytest.fixture
def texts(evening: Entry) -> int:
    return SmsMessage.objects.count()


def shot(page: Page, name: str) -> None:
    """SCREENSHOTS names a folder that keeps what the pages looked like."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def fits(page: Page, width: int) -> bool:
    return int(page.evaluate("document.documentElement.scrollWidth")) <= width


@pytest.mark.parametrize("width", [1280, 360])
def test_i_paid_and_got_nothing(
    evening: Entry, browser: Browser, live_server: Any, sandbox: Sandbox, width: int
) -> None:
    """Log in, read the dashboard, search the number once, read where the money is, resend the failed text."""
    page = browser.new_context(viewport={"width": width, "height": 800}).new_page()
    page.set_default_timeout(15_000)
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.goto(f"{live_server.url}/admin/")
    page.get_by_label("Username").fill("grace")
    page.get_by_label("Password").fill("secret-of-grace")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Money today").wait_for()
    assert page.get_by_role("link", name="5,000 UGX in 1 payment refunds due").is_visible()
    assert fits(page, width)
    shot(page, f"dashboard-{width}")

    page.get_by_label("Find a player").fill("0772 000 001")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("heading", name="Player 0772 000 001").wait_for()
    assert page.get_by_text("The money is to be given back.").first.is_visible()
    assert page.get_by_text("Refund it by payout").is_visible()
    assert fits(page, width)
    shot(page, f"timeline-{width}")

    page.get_by_role("button", name="Record a manual refund…").click()
    page.get_by_role("textbox").last.wait_for()
    assert fits(page, width)
    shot(page, f"by-hand-{width}")
    page.go_back()
    page.get_by_role("button", name="Resend…").first.click()
    page.get_by_text("1 selected").wait_for()
    shot(page, f"resend-{width}")
    page.get_by_role("button", name="Resend 1").click()
    page.get_by_text("1 queued to be resent.").wait_for()
    assert fits(page, width)
    shot(page, f"list-{width}")
    page.goto(f"{live_server.url}/admin/sms/")
    page.get_by_role("link", name="Pause sending…").click()
    shot(page, f"pause-{width}")
    page.get_by_label("Reason").fill("The amounts are wrong")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("was added successfully").wait_for()
    page.goto(f"{live_server.url}/admin/sms/")
    page.get_by_text("Sending of all texts is paused by grace: The amounts are wrong").wait_for()
    assert fits(page, width)
    shot(page, f"overview-{width}")
    page.get_by_role("link", name="Resume all texts…").click()
    page.get_by_role("button", name="Resume sending").click()
    page.get_by_text("Sending is resumed.").wait_for()
    assert complaints == []


def test_the_list_on_a_phone_is_read_without_scrolling_aside(
    evening: Entry, texts: int, browser: Browser, live_server: Any
) -> None:
    """Number, state, kind, reason and age of each text, within 360 px."""
    page = browser.new_context(viewport={"width": 360, "height": 800}).new_page()
    page.set_default_timeout(15_000)
    page.goto(f"{live_server.url}/admin/sms/smsmessage/")
    page.get_by_label("Username").fill("grace")
    page.get_by_label("Password").fill("secret-of-grace")
    page.get_by_role("button", name="Log in").click()
    rows = page.locator("#result_list tbody tr")
    rows.first.wait_for()
    assert rows.count() == texts
    failed = rows.filter(has_text="payment_failed")
    for words in ("0772 000 001", "failed", "payment_failed", "DMark refuses the message (400)", "ago"):
        cell = failed.get_by_text(words, exact=False).first
        assert cell.is_visible(), words
        box = cell.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360, words
    assert fits(page, 360)
