"""The demo in a browser to its end: both players at the table, a signed result, the prize and its SMS."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Browser

from game.models import Entry, Session
from game.tokens import game_link
from payments import refunds, status_polling
from payments.models import MatchResult, Payment
from playmatatu.sandbox.server import Server
from sms.models import SmsMessage
from sms.sandbox.page import Links
from sms.testing import serving
from tests.browsing import fits, tab
from tests.conftest import wait_for
from tests.game_helpers import ALICE, BOB, stake
from tests.players import PHONE
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def table(settings: Any, live_server: Any) -> Iterator[Sandbox]:
    with serving(Server(0, links=Links(site=live_server.url))) as server:
        settings.SITE_URL = settings.FRONTEND_URL = live_server.url
        settings.SMS_SERVICE_BASE_URL = settings.DMARK_PAY_BASE_URL = server.url
        settings.SMS_SERVICE_USERNAME = settings.DMARK_PAY_USERNAME = "sandbox"
        settings.SMS_SERVICE_PASSWORD = settings.DMARK_PAY_PASSWORD = "sandbox-password"
        settings.SMS_RATE_LIMIT_SECONDS, settings.DMARK_PAY_ACCOUNT_CODE = 0, "SANDBOX"
        settings.MOMO_AUTO_APPROVE, settings.PRIZE_AUTO_PAYOUT = False, True
        settings.GAME_SERVER_SECRET = "the-secret-of-the-game-server"
        settings.GAME_URL = server.url + "/table/{token}?pt={pt}"
        yield Sandbox(server)


@pytest.fixture
def links(client: Client, table: Sandbox) -> list[str]:
    """The links of Alice and Bob to the game. Both have paid 5,000 UGX on their phones."""
    for phone, name in ((ALICE, "Alice"), (BOB, "Bob")):
        stake(client, phone, 5000, display_name=name)
        table.tap(table.prompts()[0]["sp_transaction_id"], "pay")
    wait_for(lambda: Session.objects.exists())
    return [game_link(entry) for entry in Entry.objects.select_related("session", "player").order_by("pk")]


def opened(browser: Browser, link: str) -> Any:
    page = tab(browser, PHONE)
    page.set_default_timeout(15_000)
    page.goto(link)
    return page


def in_thread(run: Any) -> Any:
    """Django refuses queries in a thread with an event loop, such as Playwright's."""
    found: list[Any] = []
    worker = threading.Thread(target=lambda: found.append(run()))
    worker.start()
    worker.join()
    return found[0]


def pay_out() -> bool:
    refunds.pay_out_due()
    for payment in Payment.objects.all():
        status_polling.poll(payment.pk)
    refunds.pay_out_due()
    return MatchResult.objects.get().prize == "paid"


def test_the_winner_gets_the_prize(links: list[str], browser: Browser) -> None:
    alice = opened(browser, links[0])
    alice.get_by_role("link", name="Play now").click()
    alice.get_by_text("Alice (you) against Bob. The winner gets 10,000 UGX.").wait_for()
    assert fits(alice, PHONE["width"])
    bob = opened(browser, links[1])
    bob.get_by_role("link", name="Play now").click()
    alice.get_by_role("button", name="I win").click()
    alice.get_by_text("The site has recorded the result.").wait_for()
    assert alice.get_by_role("button").count() == 0
    bob.get_by_role("button", name="I win").click()
    bob.get_by_role("alert").get_by_text("The result of this match is recorded as win.").wait_for()
    bob.goto(links[1])
    bob.get_by_text("Alice won 10,000 UGX.").first.wait_for()
    wait_for(lambda: in_thread(pay_out))
    assert in_thread(lambda: SmsMessage.objects.get(kind="prize_paid").text) == (
        "You won 10000 UGX. It was sent to your mobile money."
    )
    alice.get_by_role("link", name="Back to your match").click()
    alice.get_by_role("heading", name="You won 10,000 UGX").wait_for()
    alice.get_by_text("We sent it to 0772 000 001.").first.wait_for()


def test_a_draw_gives_both_stakes_back(links: list[str], browser: Browser) -> None:
    bob = opened(browser, links[1])
    bob.get_by_role("link", name="Play now").click()
    bob.get_by_role("button", name="Draw").click()
    bob.get_by_role("link", name="Back to your match").click()
    bob.get_by_role("heading", name="This match was a draw").wait_for()
    assert in_thread(lambda: refunds.due().count()) == 2
