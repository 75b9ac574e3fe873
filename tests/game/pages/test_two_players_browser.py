"""Two players in real browsers: small screens, one shared browser, no JavaScript, Back button, titles, polling."""

import hashlib
import hmac
import json
import re
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from tests.browsing import fits, tab
from tests.conftest import Sandbox
from tests.players import PHONE

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site(live_server: Any, sandbox: Sandbox, settings: Any) -> str:
    settings.FRONTEND_URL = settings.SITE_URL = live_server.url
    return str(live_server.url)


def place(page: Page, address: str, number: str, name: str, **choices: str) -> None:
    page.goto(address)
    page.get_by_label("Your mobile number").fill(number)
    page.get_by_label("Your name").fill(name)
    if choices:
        page.get_by_label("Your stake in UGX").fill(choices["amount"])
        page.get_by_label(choices["opponent"]).check()
    if "friend" in choices:
        page.get_by_label("Your friend's number").fill(choices["friend"])
    page.get_by_role("button", name="Pay").click()


@pytest.mark.parametrize("javascript", [True, False])
def test_two_players_in_one_browser_stay_themselves(
    browser: Browser, site: str, sandbox: Sandbox, javascript: bool
) -> None:
    """A friend opens the invite in a second tab of the same browser, and both tabs reach the same match."""
    alice = tab(browser, PHONE, javascript)
    context = alice.context
    context.set_default_timeout(15_000)
    bob = context.new_page()
    bob.set_viewport_size(PHONE)
    place(alice, site, "0772000001", "Alice", amount="2000", opponent="Invite a friend", friend="0772000002")
    alice.get_by_role("heading", name="Waiting for your friend").wait_for()
    first = alice.url
    [invite] = sandbox.inbox()
    place(bob, invite["text"].split()[-1], "0772000002", "Bob")
    bob.get_by_role("heading", name="Your match").wait_for()
    alice.get_by_role("heading", name="Your match").wait_for()
    for _ in range(2):
        expect(alice.locator(".players li").first).to_contain_text("Alice, you.")
        expect(bob.locator(".players li").first).to_contain_text("Bob, you.")
        alice.reload()
        bob.reload()
    assert alice.url != bob.url
    for page in (alice, bob):
        assert fits(page, PHONE["width"])
    # The start page lists both stakes, and each link leads to its own player.
    start = context.new_page()
    start.goto(site)
    assert start.locator(".own h2").all_inner_texts() == ["Your match · Bob", "Your match · Alice"]
    start.goto(first)
    expect(start.locator(".players li").first).to_contain_text("Alice, you.")


def test_no_share_button_without_javascript(browser: Browser, site: str) -> None:
    for javascript in (False, True):
        page = tab(browser, PHONE, javascript)
        number = f"077200001{int(javascript)}"
        place(page, site, number, "Alice", amount="2000", opponent="Invite a friend")
        page.get_by_role("heading", name="Waiting for your friend").wait_for()
        assert page.locator("#share").is_visible() is javascript
        expect(page.locator(".code")).to_be_visible()
        assert page.locator("#offline").is_hidden()


def test_back_keeps_the_form(browser: Browser, site: str) -> None:
    page = tab(browser, PHONE)
    place(page, site, "0772000001", "Alice", amount="2500", opponent="Invite a friend", friend="0772000002")
    page.get_by_role("heading", name="Waiting for your friend").wait_for()
    page.go_back()
    page.get_by_role("heading", name="Play Matatu").wait_for()
    expect(page.get_by_label("Your stake in UGX")).to_have_value("2500")
    expect(page.get_by_label("Your friend's number")).to_have_value("0772000002")
    expect(page.get_by_role("button", name="Pay 2,500 UGX")).to_be_enabled()


def test_titles_and_sentences_read_aloud(browser: Browser, site: str) -> None:
    alice, bob = tab(browser, PHONE), tab(browser, PHONE)
    alice.goto(site)
    expect(alice).to_have_title("Play Matatu for a stake · PlayMatatu")
    place(alice, site, "0772000001", "Alice", amount="2000", opponent="Anyone")
    expect(alice).to_have_title("Searching for an opponent · PlayMatatu")
    body = {"phone_number": "0772000002", "stake_amount": 2000, "display_name": "Bob"}
    placed = requests.post(f"{site}/api/v1/game/stake", json=body, timeout=5).json()
    expect(alice).to_have_title("Your match · PlayMatatu")
    expect(alice.locator("main")).to_contain_text("Bob is not here yet.")
    bob.goto(placed["game_link"])
    expect(alice.locator("#said")).to_have_text("Alice, you. Bob is here.")
    bob.goto(f"{site}/link")
    expect(bob).to_have_title("Find your stake again · PlayMatatu")
    bob.goto(f"{site}/nowhere")
    expect(bob).to_have_title("We can't find this page · PlayMatatu")


def test_the_code_is_read_without_ornaments(browser: Browser, site: str) -> None:
    page = tab(browser, PHONE)
    place(page, site, "0772000001", "Alice", amount="2000", opponent="Invite a friend")
    code = page.locator(".code")
    code.wait_for()
    assert re.fullmatch("[A-Z2-9]{6}", code.inner_text())
    for part in ("::before", "::after"):
        assert code.evaluate("(node, part) => getComputedStyle(node, part).content", part) == '""'


def test_polls_slow_down_and_start_again_with_the_page(browser: Browser, site: str, sandbox: Sandbox) -> None:
    context = browser.new_context(viewport=PHONE)
    page = context.new_page()
    page.clock.install()
    place(page, site, "0772000001", "Alice", amount="2000", opponent="Invite a friend", friend="0772000002")
    page.get_by_role("heading", name="Waiting for your friend").wait_for()
    polls: list[str] = []
    statuses: list[int] = []
    page.on("request", lambda request: polls.append(request.url) if request.headers.get("x-part") else None)
    page.on("response", lambda answer: statuses.append(answer.status) if answer.request.headers.get("x-part") else None)

    def polls_within(seconds: int) -> int:
        """Advance the page's clock second by second, and return the number of its polls."""
        before = len(statuses)
        for _ in range(seconds):
            page.clock.run_for(1000)
            page.wait_for_timeout(40)
            while len(statuses) < len(polls):
                page.wait_for_timeout(10)
        return len(statuses) - before

    assert [polls_within(span) for span in (3, 3, 5, 5, 10, 10)] == [1, 1, 1, 1, 1, 1]
    assert set(statuses) == {304}
    sent = next(request for request in sandbox.requests() if request["path"] == "/v3/api/send_sms/")
    page.request.post(sent["body"]["dlr_url"], data={"status": "DELIVERED"})
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.clock.run_for(10)
    page.get_by_text("Your invite has been delivered.").first.wait_for()
    assert statuses[-1] == 200


def test_the_result_appears_on_both_pages(browser: Browser, site: str, settings: Any) -> None:
    """The game server reports the winner while both players have their match pages open."""
    settings.MOMO_AUTO_APPROVE, settings.GAME_SERVER_SECRET = False, "game-secret-of-this-test"
    players = {}
    for number, name in (("0772000001", "Alice"), ("0772000002", "Bob")):
        body = {"phone_number": number, "stake_amount": 5000, "display_name": name}
        players[name] = requests.post(f"{site}/api/v1/game/stake", json=body, timeout=5).json()
        callback = {**body, "transaction_id": players[name]["transaction_id"], "amount": 5000, "status": "SUCCESS"}
        proof = {"X-Callback-Secret": settings.MOMO_CALLBACK_SECRET}
        assert requests.post(f"{site}/api/v1/momo/callback", json=callback, headers=proof, timeout=5).ok
    links = []
    for player in players.values():
        queue = {"queue_token": player["queue_token"]}
        links.append(requests.get(f"{site}/api/v1/game/queue/status", queue, timeout=5).json()["game_link"])
    alice, bob = tab(browser, PHONE), tab(browser, PHONE)
    for page, link in zip((alice, bob), links, strict=True):
        page.goto(link)
        page.get_by_role("heading", name="Your match").wait_for()
    raw = json.dumps({"outcome": "win", "winner": players["Alice"]["player_token"]}).encode()
    signature = hmac.new(settings.GAME_SERVER_SECRET.encode(), raw, hashlib.sha256).hexdigest()
    token = links[0].split("/g/")[1].partition("?")[0]
    headers = {"X-Game-Signature": f"sha256={signature}", "Content-Type": "application/json"}
    assert requests.post(f"{site}/api/v1/game/{token}/result", raw, headers=headers, timeout=5).ok
    expect(alice.get_by_role("heading", level=1)).to_have_text("You won 10,000 UGX", timeout=15_000)
    expect(alice.locator(".say.state")).to_have_text("We will send it to 0772 000 001.")
    expect(bob.get_by_role("heading", level=1)).to_have_text("You lost this match", timeout=15_000)
    expect(bob.locator(".say.state")).to_have_text("Alice won 10,000 UGX.")
    for page in (alice, bob):
        expect(page.locator("#said")).to_contain_text("Alice won 10,000 UGX." if page is bob else "You won 10,000 UGX")
        assert fits(page, PHONE["width"])
