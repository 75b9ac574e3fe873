"""An operator refunds a player in a browser, on a large screen and on a phone."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, Page, expect

from payments import status_polling
from payments.models import Payment
from tests.browsing import fits, log_in, tab
from tests.game_helpers import ALICE, age, stake
from tests.payments.helpers import later
from tests.players import PHONE
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)
WIDTHS = (PHONE["width"], 1280)


@pytest.fixture
def due(collection: Sandbox) -> None:
    """Alice has paid 12,500 UGX and nobody joined. This is prepared before the browser starts."""
    User.objects.create_superuser("grace", password="secret-of-grace")
    collection.faults(callback="never", hang_seconds=1.5)
    stake(Client(), ALICE, 12_500, display_name="Alice")
    collection.tap(collection.prompts()[0]["sp_transaction_id"], "pay")
    payment = Payment.objects.get()
    later(payment, 30)
    assert status_polling.poll(payment.pk)
    age()


def of_alice(browser: Browser, site: str, width: int) -> Page:
    """Log in and open Alice's page."""
    page = tab(browser, {"width": width, "height": PHONE["height"]})
    log_in(page, f"{site}/admin/find/?q={ALICE}")
    page.get_by_role("heading", name="Player 0772 000 001").wait_for()
    return page


def pressed(browser: Browser, site: str, width: int, button: str) -> Page:
    """Open Alice's page, press a button of its banner, and check the confirmation page."""
    page = of_alice(browser, site, width)
    page.locator(".sms-banner.error").get_by_role("button", name=button).click()
    assert_names_the_payee(page, width, "12,500 UGX is due back to the player.")
    return page


def assert_done(page: Page, width: int, message: str) -> None:
    """Check that the browser is back on Alice's page, which shows the message."""
    page.get_by_text(message).first.wait_for()
    assert page.url.endswith(f"/admin/find/?q={ALICE}")
    assert fits(page, width)


def assert_names_the_payee(page: Page, width: int, reason: str) -> None:
    page.get_by_text("1 payment, 12,500 UGX in total.").or_(
        page.get_by_text("1 refund, 12,500 UGX in total.")
    ).wait_for()
    payee = page.locator("#content li", has_text="Alice, 0772 000 001: 12,500 UGX")
    assert reason in payee.inner_text()
    assert fits(page, width)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_payout_takes_two_clicks_and_returns_to_the_player(
    due: None, browser: Browser, live_server: Any, width: int
) -> None:
    page = pressed(browser, live_server.url, width, "Refund by payout…")
    page.get_by_role("button", name="Refund (12,500 UGX)").click()
    assert_done(page, width, "Refund by payout ordered: 1.")
    page.get_by_text("The money was refunded to the player.").first.wait_for()
    expect(page.get_by_text("No payment by this player needs action.")).to_be_visible()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_manual_refund_asks_how_and_returns_to_the_player(
    due: None, browser: Browser, live_server: Any, width: int
) -> None:
    page = pressed(browser, live_server.url, width, "Record a manual refund…")
    page.get_by_label("How was it refunded?").fill("cash at the shop, receipt 7")
    page.get_by_role("button", name="Record refund (12,500 UGX)").click()
    assert_done(page, width, "Manual refund recorded: 1.")
    page.get_by_text("cash at the shop, receipt 7").first.wait_for()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("button", "confirm", "end"),
    [
        ("It was paid out…", "Mark as paid out", "No payment by this player needs action."),
        ("It was not paid out…", "Mark as not paid out", "12,500 UGX is due back to the player."),
    ],
)
def test_a_payout_in_doubt_has_its_two_actions_on_the_banner(
    due: None, browser: Browser, live_server: Any, collection: Sandbox, width: int, button: str, confirm: str, end: str
) -> None:
    collection.faults(payout="taken_reset")
    page = pressed(browser, live_server.url, width, "Refund by payout…")
    page.get_by_role("button", name="Refund (12,500 UGX)").click()
    banner = page.locator(".sms-banner.error", has_text="We don't know if the refund was paid out")
    banner.wait_for()
    assert [each.inner_text() for each in banner.get_by_role("button").all()] == [
        "It was paid out…",
        "It was not paid out…",
    ]
    banner.get_by_role("button", name=button).click()
    assert_names_the_payee(page, width, "We don't know if the refund was paid out")
    page.get_by_label("How do you know?").fill("looked it up in the portal")
    page.get_by_role("button", name=f"{confirm} (12,500 UGX)", exact=True).click()
    assert_done(page, width, end)
