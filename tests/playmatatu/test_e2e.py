"""Two players in a real browser, from the form over the SMS to the match."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from django.db import connection
from playwright.sync_api import Browser

from payments.models import Payment
from tests.browsing import tab
from tests.conftest import Sandbox
from tests.players import Player

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site(live_server: Any, sandbox: Sandbox, settings: Any) -> str:
    settings.FRONTEND_URL = settings.SITE_URL = live_server.url
    return str(live_server.url)


def last_link(sandbox: Sandbox, number: str) -> str:
    return next(str(item["text"]).split()[-1] for item in sandbox.inbox() if item["to"] == number)


@pytest.mark.parametrize("javascript", [True, False])
def test_two_players_meet(browser: Browser, site: str, sandbox: Sandbox, javascript: bool) -> None:
    alice = Player(browser, site, "0772000001", "Alice", javascript)
    bob = Player(browser, site, "+256 772 000 002", "Bob", javascript)
    alice.fill(amount="2000")
    alice.page.get_by_label("Invite a friend").check()
    alice.page.get_by_label("Your friend's number").fill("0772000002")
    alice.fits()
    alice.stake()
    alice.page.get_by_text("Your invite has been sent.").wait_for()
    alice.fits()

    inbox = tab(browser, {"width": 1280, "height": 720})
    inbox.goto(sandbox.url)
    link = inbox.get_by_role("link").get_attribute("href") or ""
    assert link.startswith(f"{site}/?match_code=")
    bob.fill(link.removeprefix(site))
    bob.page.get_by_text("Alice (0772 ••• 001) invites you.").wait_for()
    bob.page.get_by_role("button", name="Pay 2,000 UGX").wait_for()
    bob.fits()
    bob.stake()
    bob.page.get_by_role("heading", name="Your match").wait_for()
    # The first player's page updates without a click.
    alice.page.get_by_role("heading", name="Your match").wait_for()
    assert "pt=" not in alice.page.url

    for player, other, number in ((alice, "Bob", "0772000001"), (bob, "Alice", "0772000002")):
        player.page.context.clear_cookies()
        player.page.goto(last_link(sandbox, number))
        assert "pt=" not in player.page.url
        player.page.get_by_text(other, exact=True).wait_for()
        player.fits()
    bob.page.get_by_text("is here", exact=True).wait_for()
    assert alice.complaints == bob.complaints == []


def newest_transaction() -> str:
    """This runs in a thread, because Django refuses queries in a thread with an event loop, such as Playwright's."""

    def read() -> str:
        try:
            return Payment.objects.latest("pk").transaction_id
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(read).result()


def test_a_failed_payment_and_its_retry(browser: Browser, site: str, sandbox: Sandbox, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE = False
    alice = Player(browser, site, "0772000001", "Alice")

    for word, heading in (("FAILED", "No money was taken"), ("SUCCESS", "Searching for an opponent")):
        alice.fill(amount="1000")
        alice.page.get_by_label("Anyone").check()
        alice.stake()
        alice.page.get_by_text("Waiting for your payment").wait_for()
        answer = requests.post(
            f"{site}/api/v1/momo/callback",
            json={"transaction_id": newest_transaction(), "phone_number": alice.number, "amount": 1000, "status": word},
            headers={"X-Callback-Secret": settings.MOMO_CALLBACK_SECRET},
            timeout=5,
        )
        assert answer.status_code == 200, answer.text
        alice.page.get_by_role("heading", name=heading).wait_for()
    assert [item["text"].split(" ")[4] for item in sandbox.inbox()] == ["received.", "failed."]
