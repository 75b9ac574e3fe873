"""The phones' page in a real browser: it updates itself, fits a phone, and works without a mouse."""

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from playmatatu.sandbox.money.dmarkpay import DMarkPay
from sms.sandbox.page import Links
from tests.browsing import fits, tab
from tests.sandbox import Sandbox

ASK = {
    "wallet": "dmark",
    "payment_method": "mtn_mobile_money",
    "msisdn": "256772000001",
    "description": "PlayMatatu stake",
    "amount": "5000.00",
    "notify_url": "",
}


def send(sandbox: Sandbox, to: str, text: str) -> None:
    sandbox.server.state.take(to, text, "")


def ask(sandbox: Sandbox, name: str, **changes: str) -> None:
    pay: DMarkPay = sandbox.server.dmarkpay
    token = pay.reply("pay_token", "", {"grant_type": "client_credentials"}, "Basic dTpw").body
    assert isinstance(token, dict)
    order = ASK | {"sp_transaction_id": name} | changes
    assert pay.reply("payin", "", order, f"Bearer {token['access_token']}").status == 201


def opened(browser: Browser, sandbox: Sandbox, width: int = 1280, javascript: bool = True) -> Page:
    page = tab(browser, {"width": width, "height": 800}, javascript)
    page.set_default_timeout(15_000)
    page.goto(sandbox.url)
    return page


@pytest.mark.parametrize("width", [1200, 360])
def test_a_text_arrives_while_one_looks(sandbox: Sandbox, browser: Browser, width: int) -> None:
    page = opened(browser, sandbox, width)
    page.get_by_text("No phone has received anything yet.").wait_for()
    for number in range(12):
        send(sandbox, "0772000001", f"text {number}, with some words to make it two lines long")
    page.locator(".text").get_by_text("text 11,").wait_for()
    assert fits(page, width)
    # The newest message is visible, at the bottom of its phone.
    box, newest = page.locator(".texts").bounding_box(), page.locator(".text").get_by_text("text 11,").bounding_box()
    assert box
    assert newest
    assert box["y"] < newest["y"] < box["y"] + box["height"]
    sandbox.faults(send="503")
    page.get_by_text("Sending: 503").wait_for()
    # The scroll position of a user who scrolled up is kept.
    page.locator(".texts").evaluate("box => { box.scrollTop = 0 }")
    send(sandbox, "0772000002", "to another phone")
    page.locator(".text").get_by_text("to another phone").wait_for()
    assert page.locator(".texts").first.evaluate("box => box.scrollTop") == 0


@pytest.mark.parametrize("width", [1280, 360])
def test_a_phone_rings_and_is_tapped(sandbox: Sandbox, browser: Browser, width: int) -> None:
    page = opened(browser, sandbox, width)
    ask(sandbox, "S-1")
    ask(sandbox, "S-2", msisdn="256752000002", payment_method="airtel_mobile_money", amount="1000000.00")
    first = page.get_by_role("region", name="Phone 0772 000 001")
    second = page.get_by_role("region", name="Phone 0752 000 002")
    first.get_by_text("MTN MoMo").wait_for()
    second.get_by_text("Airtel Money").wait_for()
    expect(second.get_by_text("Pay 1,000,000 UGX?")).to_be_visible()
    assert fits(page, width)
    assert "1,000,000 UGX" in (page.locator("#said").text_content() or "")
    assert page.title() == "(2) The phones"
    first.get_by_role("button", name="Decline").click()
    first.get_by_text("5,000 UGX not paid: The payer declined the request").wait_for()
    second.get_by_role("button", name="Pay", exact=True).click()
    second.get_by_text("You paid 1,000,000 UGX").wait_for()
    # The page was not reloaded, and no prompt is open.
    assert sandbox.prompts() == []
    assert page.evaluate("performance.getEntriesByType('navigation').length") == 1
    assert page.title() == "The phones"


def test_the_keyboard_is_enough(sandbox: Sandbox, browser: Browser) -> None:
    ask(sandbox, "S-1")
    page = opened(browser, sandbox)
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Pay":
            break
    # An event on another phone does not disturb a user who is about to press a button.
    send(sandbox, "0772000009", "to another phone")
    page.locator(".text").get_by_text("to another phone").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Pay"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    page.keyboard.press("Enter")
    page.locator(".text").get_by_text("You paid 5,000 UGX").wait_for()
    # The focus stays on the phone that was tapped.
    assert page.evaluate("document.activeElement.ariaLabel") == "SMS to 0772 000 001"
    page.get_by_role("button", name="DMarkPay is down").focus()
    page.keyboard.press("Enter")
    page.locator("button[aria-pressed=true]", has_text="DMarkPay is down").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "DMarkPay is down"


def test_without_a_script(sandbox: Sandbox, browser: Browser) -> None:
    ask(sandbox, "S-1")
    ask(sandbox, "S-2")
    page = opened(browser, sandbox, javascript=False)
    expect(page.get_by_text("1 more after this one")).to_be_visible()
    page.get_by_role("button", name="Pay", exact=True).click()
    expect(page.get_by_text("You paid 5,000 UGX")).to_be_visible()
    page.get_by_role("button", name="Decline", exact=True).click()
    expect(page.get_by_text("not paid")).to_be_visible()
    page.get_by_role("button", name="Clear faults and phones").click()
    expect(page.get_by_text("No phone has received anything yet.")).to_be_visible()
    assert requests.get(f"{sandbox.url}/prompts.json", timeout=5).json() == []


def test_a_reply_survives_a_redraw(sandbox: Sandbox, browser: Browser) -> None:
    sandbox.server.page.links = Links(inbound=f"{sandbox.url}/no-site/")
    try:
        send(sandbox, "0772000001", "hello")
        page = opened(browser, sandbox, 360)
        field = page.get_by_label("SMS from 0772 000 001")
        field.focus()
        page.keyboard.type("ST")
        send(sandbox, "0772000002", "to another phone")
        page.locator(".text").get_by_text("to another phone").wait_for()
        page.keyboard.type("OP")
        assert field.input_value() == "STOP"
        page.keyboard.press("Enter")
        page.locator(".mine").get_by_text("STOP").wait_for()
        assert page.locator(".mine .report").text_content() == "the site answered 404"
        assert field.input_value() == ""
        assert fits(page, 360)
    finally:
        sandbox.server.page.links = Links()


def test_a_whole_number_opens_its_phone(sandbox: Sandbox, browser: Browser) -> None:
    send(sandbox, "0772000001", "hello")
    page = opened(browser, sandbox, 360)
    page.get_by_role("searchbox", name="Find a phone").fill("0770 000 001")
    page.keyboard.press("Enter")
    page.get_by_role("region", name="Phone 0770 000 001").wait_for()
    assert page.get_by_text("hello").count() == 0
    # The page keeps polling with the search term.
    send(sandbox, "0770000001", "declined")
    page.locator(".text").get_by_text("declined").wait_for()
    assert page.get_by_text("hello").count() == 0
    page.get_by_role("link", name="All phones").click()
    page.get_by_text("hello").wait_for()
