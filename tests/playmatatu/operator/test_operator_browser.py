"""An operator on a large screen and on a phone: search, timeline and actions."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from game.models import Entry, Session
from game.rules.results import record_result
from payments import refunds
from payments.models import Callback, ProviderDebit
from sms.models import SmsMessage, SmsPause, SmsSuppression
from sms.outbox import queue_sms
from tests.browsing import fits, log_in, tab
from tests.conftest import Sandbox
from tests.game_helpers import ALICE, BOB, CAROL, age, paid, paid_stake, stake

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def evening(sandbox: Sandbox, settings: Any) -> Entry:
    """A match, a stake without an opponent, a failed payment, and messages that DMark refused."""
    settings.MOMO_AUTO_APPROVE = False
    # This must run before the browser starts, because Django refuses queries in a thread with an event loop.
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
    """Save a screenshot if SCREENSHOTS names a folder."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


@pytest.mark.parametrize("width", [1280, 360])
def test_i_paid_and_got_nothing(
    evening: Entry, browser: Browser, live_server: Any, sandbox: Sandbox, width: int
) -> None:
    """Log in, read the dashboard, search the number, read about the money, and resend the failed message."""
    page = tab(browser, {"width": width, "height": 800})
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    log_in(page, f"{live_server.url}/admin/")
    page.get_by_role("heading", name="Money today").wait_for()
    expect(page.get_by_role("link", name="5,000 UGX in 1 payment refunds due")).to_be_visible()
    assert fits(page, width)
    shot(page, f"dashboard-{width}")

    page.get_by_label("Find a player").fill("0772 000 001")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("heading", name="Player 0772 000 001").wait_for()
    expect(page.get_by_text("5,000 UGX is due back to the player.").first).to_be_visible()
    expect(page.get_by_text("Pay it out now")).to_be_visible()
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
    """Number, state, kind, reason and age of each message fit into 360 px."""
    page = tab(browser, {"width": 360, "height": 800})
    log_in(page, f"{live_server.url}/admin/sms/smsmessage/")
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


LISTS = [
    "sms/",
    "sms/smsmessage/",
    "sms/smssuppression/",
    "sms/smspause/",
    "payments/payment/",
    "payments/refund/",
    "payments/ledgerentry/",
    "payments/paymentevent/",
    "payments/callback/",
    "payments/matchresult/",
    "payments/providerdebit/",
    "game/entry/",
    "game/session/",
    "game/player/",
]
# Cells that extend beyond the screen, so that they are cut off or need sideways scrolling.
CUT = """() => [...document.querySelectorAll("#result_list :is(td, th), .sms-overview :is(td, th)")]
    .filter(cell => cell.offsetWidth && cell.getBoundingClientRect().right > innerWidth)
    .map(cell => cell.innerText)"""


def test_no_list_is_cut_on_a_phone(
    plain_text: None, listed: None, won: None, browser: Browser, live_server: Any, sandbox: Sandbox
) -> None:
    page = tab(browser, {"width": 360, "height": 800})
    log_in(page, f"{live_server.url}/admin/")
    for name in LISTS:
        page.goto(f"{live_server.url}/admin/{name}")
        page.locator("#result_list tbody tr, .sms-overview").first.wait_for()
        shot(page, f"list-{name.strip('/').replace('/', '-')}-360")
        assert page.evaluate(CUT) == [], name
        assert fits(page, 360), name
    page.goto(f"{live_server.url}/admin/game/session/")
    assert page.locator("#result_list .field-state").inner_text() == "won"
    page.goto(f"{live_server.url}/admin/game/entry/")
    assert {"match won", "match lost"} < set(page.locator("#result_list .field-state").all_inner_texts())


@pytest.fixture
def listed(evening: Entry) -> None:
    """Add rows to the lists that are usually empty."""
    SmsSuppression.objects.create(phone="+256772000044", reason="The person sent STOP by SMS.", source="stop")
    SmsPause.objects.create(kind="private_invite", reason="The link in the invites is wrong", actor="grace")
    Callback.objects.create(body="{", refusal="It is not JSON.", answered=400)
    ProviderDebit.objects.create(account="fees", amount=120, actor="grace", note="line 4 of the provider's statement")
    refunds.refund_by_hand(evening.payment_id, "grace", "cash at the shop, receipt 7")


@pytest.fixture
def plain_text(evening: Entry) -> None:
    """A message without a kind, such as one from send_test_sms."""
    queue_sms("0772000009", "sent by send_test_sms")


@pytest.fixture
def undelivered_link(evening: Entry) -> None:
    """Bob and Carol are matched. Bob's messages were delivered, Carol's were not."""
    SmsMessage.objects.filter(phone="+256772000003").update(status="undelivered", error="The network gave up.")
    SmsMessage.objects.filter(phone="+256772000002").update(status="delivered")


@pytest.fixture
def over(evening: Entry) -> None:
    """The match has expired."""
    Session.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


@pytest.fixture
def won(evening: Entry) -> None:
    """Bob has won the match."""
    session = Session.objects.get()
    winner = session.entries.get(player__phone="+256772000002")
    assert record_result(session, "win", winner, by="game server")


@pytest.mark.parametrize("width", [1280, 360])
def test_the_emergency_pause_pauses_everything(
    plain_text: None, browser: Browser, live_server: Any, sandbox: Sandbox, width: int
) -> None:
    """Saving the form as it opens pauses all messages, even if one has no kind."""
    page = tab(browser, {"width": width, "height": 800})
    log_in(page, f"{live_server.url}/admin/sms/smspause/add/")
    assert page.get_by_label("What to pause").locator("option:checked").inner_text() == "all texts"
    expect(page.get_by_text("0 waiting,")).to_be_visible()
    expect(page.get_by_text("sent in the last minute.")).to_be_visible()
    page.get_by_label("Reason").fill("Wrong links")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("was added successfully").wait_for()
    expect(page.locator("#result_list").get_by_text("all texts")).to_be_visible()
    page.get_by_role("link", name="Resume…").click()
    page.get_by_role("heading", name="Resume sending?").wait_for()
    assert page.get_by_text("Delete").count() == 0
    assert fits(page, width)
    shot(page, f"resume-{width}")


@pytest.mark.parametrize("width", [1280, 360])
def test_paid_and_matched_without_a_link_is_amber(
    undelivered_link: None, browser: Browser, live_server: Any, sandbox: Sandbox, width: int
) -> None:
    """A matched player whose message was not delivered: a warning, a button to resend, and the number to call."""
    page = tab(browser, {"width": width, "height": 800})
    log_in(page, f"{live_server.url}/admin/find/?q=0772000003")
    warning = page.locator(".sms-banner.warning")
    warning.get_by_text("Paid and matched, but no text with the link arrived.").wait_for()
    assert page.get_by_text("No payment by this player needs action.").count() == 0
    expect(page.get_by_text("If nobody plays by")).to_be_visible()
    call = warning.get_by_role("link", name="Call 0772 000 003")
    assert call.get_attribute("href") == "tel:+256772000003"
    assert fits(page, width)
    shot(page, f"no-link-{width}")
    warning.get_by_role("button", name="Resend…").click()
    page.get_by_role("button", name="Resend 1").click()
    page.get_by_text("1 queued to be resent.").wait_for()
    page.goto(f"{live_server.url}/admin/find/?q=0772000002")
    page.get_by_text("No payment by this player needs action.").wait_for()


@pytest.mark.parametrize("width", [1280, 360])
def test_the_stakes_of_a_match_without_a_link_are_given_back(
    undelivered_link: None, over: None, browser: Browser, live_server: Any, sandbox: Sandbox, width: int
) -> None:
    """The match is over, and Carol never got its link. Both stakes are given back from the warning on her page."""
    page = tab(browser, {"width": width, "height": 800})
    log_in(page, f"{live_server.url}/admin/find/?q=0772000003")
    player = page.url
    warning = page.locator(".sms-banner.warning")
    warning.get_by_text("If nobody played, give both stakes back.").wait_for()
    expect(warning.get_by_role("link", name="Call 0772 000 003")).to_be_visible()
    assert fits(page, width)
    shot(page, f"no-link-over-{width}")
    warning.get_by_role("button", name="Give both stakes back…").click()
    for payee in ("0772 000 002: 2,000 UGX", "0772 000 003: 2,000 UGX"):
        expect(page.locator("#content li", has_text=payee)).to_be_visible()
    assert fits(page, width)
    page.get_by_label("Why?").fill("the link did not arrive")
    page.get_by_role("button", name="Give both stakes back (4,000 UGX)").click()
    page.get_by_text("Both stakes given back: 1.").wait_for()
    assert page.url == player
    page.locator(".sms-banner.error").get_by_text("2,000 UGX is due back to the player.").wait_for()
    assert warning.count() == 0


def test_a_match_with_a_result_needs_no_link(
    undelivered_link: None, won: None, browser: Browser, live_server: Any, sandbox: Sandbox
) -> None:
    page = tab(browser, {"width": 360, "height": 800})
    log_in(page, f"{live_server.url}/admin/find/?q=0772000003")
    page.get_by_text("No payment by this player needs action.").wait_for()


def test_the_timeline_refreshes_and_keeps_scroll_and_focus(
    evening: Entry, browser: Browser, live_server: Any, sandbox: Sandbox
) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 640})
    page = context.new_page()
    # The page's clock stands still, so the page refreshes itself only in `run_for`.
    page.clock.install(time=0)
    page.clock.pause_at(1)
    log_in(page, f"{live_server.url}/admin/find/?q=0772000001")
    page.get_by_role("heading", name="Timeline").wait_for()
    # This happens before the page is scrolled, because the browser moves a scrolled page if something above grows.
    page.locator("details").first.evaluate("details => { details.open = true; }")
    page.evaluate("window.scrollTo(0, 900)")
    link = page.locator(".sms-timeline a").first
    link.evaluate("element => element.focus({preventScroll: true})")
    other = context.new_page()
    other.goto(f"{live_server.url}/admin/find/?q=0772000001")
    other.get_by_label("Note on this player").fill("Called back")
    other.get_by_role("button", name="Add note").click()
    other.get_by_text("Called back").wait_for()
    assert page.get_by_text("Called back").count() == 0
    page.clock.run_for(10_500)
    page.get_by_text("Called back").wait_for()
    assert page.evaluate("window.scrollY") == 900
    assert link.evaluate("element => element === document.activeElement")
    assert page.locator("details").first.evaluate("details => details.open")
    assert page.evaluate("document.querySelectorAll('.sms-timeline').length") == 1


def test_the_chart_shows_the_newest_hours_on_a_phone(evening: Entry, browser: Browser, live_server: Any) -> None:
    page = tab(browser, {"width": 360, "height": 640})
    log_in(page, f"{live_server.url}/admin/sms/")
    newest = page.locator(".sms-chart").first.locator("g").last
    box = newest.bounding_box()
    assert box
    assert 0 <= box["x"] < 360
    assert fits(page, 360)
