"""A payment in a real browser: the stake, the payment prompt, the SMS, the match, the refund.

`SCREENSHOTS=folder` saves pictures at 360 and 1280 px.
"""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page

from game.worker import Worker
from tests.browsing import tab
from tests.conftest import Sandbox
from tests.players import Player

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site(live_server: Any, collection: Sandbox, settings: Any) -> Iterator[str]:
    """A site as in `make run`: inline sending, a game worker, and notifications from DMarkPay."""
    settings.FRONTEND_URL = settings.SITE_URL = live_server.url
    settings.DMARK_PAY_TIMEOUT = 10.0
    worker = Worker(0.2, lambda line: None)
    thread = threading.Thread(target=worker.run)
    thread.start()
    yield str(live_server.url)
    worker.stop()
    thread.join()


class Phones:
    """The sandbox's page in the browser."""

    def __init__(self, browser: Browser, sandbox: Sandbox) -> None:
        self.page: Page = tab(browser, {"width": 1280, "height": 800})
        self.page.set_default_timeout(15_000)
        self.page.goto(sandbox.url)

    def of(self, number: str) -> Locator:
        return self.page.get_by_role("region", name=f"Phone {number}")

    def tap(self, number: str, button: str) -> None:
        self.of(number).get_by_role("button", name=button, exact=True).click()

    def reads(self, number: str, text: str) -> None:
        self.of(number).locator(".text").get_by_text(text).wait_for()


def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        was = page.viewport_size
        assert was
        for width in (360, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            page.screenshot(path=Path(folder) / f"{name}-{width}.png", full_page=width == 360)
        page.set_viewport_size(was)


@pytest.mark.parametrize("javascript", [True, False])
def test_declined_then_paid_then_met(browser: Browser, site: str, collection: Sandbox, javascript: bool) -> None:
    alice = Player(browser, site, "0772000001", "Alice", javascript)
    bob = Player(browser, site, "0752000002", "Bob", javascript)
    phones = Phones(browser, collection)

    def sees(player: Player, heading: str) -> None:
        player.page.get_by_role("heading", name=heading).wait_for()
        player.fits()

    alice.fill(amount="5000")
    alice.page.get_by_label("Invite a friend").check()
    alice.page.get_by_label("Your friend's number").fill("0752000002")
    alice.stake()
    sees(alice, "Confirm 5,000 UGX on your phone")
    alice.page.get_by_text("MTN").first.wait_for()
    phones.of("0772 000 001").get_by_text("Pay 5,000 UGX?").wait_for()
    picture(alice.page, f"confirm-{javascript}")
    picture(phones.page, f"phones-ask-{javascript}")
    phones.tap("0772 000 001", "Decline")
    sees(alice, "No money was taken")
    alice.page.locator("main .state").get_by_text("The request was declined on your phone.").wait_for()
    phones.reads("0772 000 001", "Payment of 5000 UGX failed.")
    picture(alice.page, f"declined-{javascript}")
    # After a failed attempt, the form still has its values.
    alice.page.get_by_role("link", name="Try again").click()
    alice.stake()
    sees(alice, "Confirm 5,000 UGX on your phone")
    phones.tap("0772 000 001", "Pay")
    sees(alice, "Waiting for your friend")
    phones.reads("0772 000 001", "Payment of 5000 UGX received. Share your code:")
    picture(alice.page, f"paid-{javascript}")

    phones.reads("0752 000 002", "Join my PlayMatatu private match!")
    link = phones.of("0752 000 002").get_by_role("link").get_attribute("href") or ""
    bob.fill(link.removeprefix(site))
    bob.stake()
    sees(bob, "Confirm 5,000 UGX on your phone")
    phones.tap("0752 000 002", "Pay")
    for player, number in ((alice, "0772 000 001"), (bob, "0752 000 002")):
        sees(player, "Your match")
        phones.reads(number, "Opponent found!")
    picture(phones.page, f"phones-met-{javascript}")
    assert collection.counts()["texts"]["repeated"] == []
    assert sorted(collection.counts()["money"]["taken"]["payin"].values()) == [1, 1, 1]
    assert alice.complaints == bob.complaints == []


def test_paid_without_an_opponent(browser: Browser, site: str, collection: Sandbox, settings: Any) -> None:
    settings.QUEUE_EXPIRY_MINUTES = 0.05
    settings.SUPPORT_CONTACT = "0800 100 200"
    alice = Player(browser, site, "0772000001", "Alice")
    phones = Phones(browser, collection)
    alice.fill(amount="5000")
    alice.page.get_by_label("Anyone").check()
    alice.stake()
    phones.tap("0772 000 001", "Pay")
    alice.page.get_by_text("We will refund 5,000 UGX").first.wait_for()
    alice.fits()
    picture(alice.page, "refund-due")
    phones.reads("0772 000 001", "Nobody joined your match. Your 5000 UGX will be refunded.")
    texts = [item["text"] for item in collection.inbox()]
    assert len([text for text in texts if "refunded" in text]) == 1
    picture(phones.page, "phones-refund-due")
    assert alice.complaints == []
