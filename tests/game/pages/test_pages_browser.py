"""Every page in a real browser: contrast in both color schemes, 320 to 1280 px, keyboard, clock, share button.

`SCREENSHOTS=folder` saves a picture of each.
"""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Page, expect

from game.models import Entry, Session
from payments.models import MatchResult, Payment
from tests.browsing import fits, tab
from tests.conftest import Sandbox, wait_for
from tests.game_helpers import ALICE, BOB, CAROL, DAVE, age, stake
from tests.payments.helpers import settle

pytestmark = pytest.mark.django_db(transaction=True)

# The contrast of every visible text against the first background behind it (WCAG 2.2).
CONTRAST = """() => {
  const rgba = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((value) => {
      value /= 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgba(getComputedStyle(node).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return rgba(matchMedia("(prefers-color-scheme: dark)").matches ? "rgb(18, 18, 18)" : "rgb(255, 255, 255)");
  };
  const found = [];
  const look = (node, text, colour) => {
    const below = behind(node);
    const [a, b] = [light(over(rgba(colour), below)), light(below)].sort((x, y) => y - x);
    found.push({ text: text.trim().slice(0, 40), ratio: (a + 0.05) / (b + 0.05) });
  };
  for (const node of document.querySelectorAll("body *")) {
    if (!node.checkVisibility({ visibilityProperty: true })) continue;
    const own = [...node.childNodes].filter((child) => child.nodeType === 3).map((child) => child.data).join("");
    const style = getComputedStyle(node);
    if (own.trim() && node.tagName !== "SCRIPT" && node.tagName !== "NOSCRIPT") look(node, own, style.color);
    if (node.tagName === "INPUT" && node.value && !["radio", "hidden"].includes(node.type))
      look(node, node.value, style.color);
    if (node.placeholder) look(node, node.placeholder, getComputedStyle(node, "::placeholder").color);
  }
  return found;
}"""

# Elements that are wider than the window or their parent, by tag and text.
BEYOND = """() => [...document.querySelectorAll("body *")]
  .filter((node) => node.checkVisibility() && !node.matches(".skip, .unseen, option, input"))
  .filter((node) => node.getBoundingClientRect().right > innerWidth + 0.5 || node.scrollWidth > node.clientWidth + 1)
  .filter((node) => node.clientWidth > 0)
  .map((node) => `${node.tagName} ${node.textContent.trim().slice(0, 40)}`)"""

# Controls that are too small for a thumb.
SMALL_TARGETS = """() => [...document.querySelectorAll("button, a.main, a.quiet, header a, input, .choice span")]
  .filter((node) => node.checkVisibility() && !["hidden", "radio"].includes(node.type))
  .filter((node) => node.getBoundingClientRect().height < 44)
  .map((node) => `${node.tagName} ${node.textContent.trim().slice(0, 40)}`)"""

# The focused element, its position, and if it is visible.
FOCUS = """() => {
  const node = document.activeElement, style = getComputedStyle(node), box = node.getBoundingClientRect();
  return {
    name: node.id || (node.name || "") + (node.value || "") || node.textContent.trim(), body: node === document.body,
    top: box.top + scrollY, left: box.left, seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    inside: box.top >= 0 && box.bottom <= innerHeight + 1 && box.right <= innerWidth + 1,
  };
}"""

SMALL: Any = {"width": 320, "height": 640}
LARGE: Any = {"width": 1280, "height": 720}
SIZES = ((320, 640), (360, 740), (1280, 800))
Visit = tuple[str, dict[str, tuple[str, str]]]
Visits = dict[str, Visit]


def cookies_of(client: Client) -> dict[str, tuple[str, str]]:
    return {name: (morsel.value, morsel["path"]) for name, morsel in client.cookies.items()}


def placed(**fields: str) -> Visit:
    """Place a stake. Return the URL of its page and the browser's cookies."""
    client = Client()
    answer = client.post("/", {"stake_amount": "2000", "opponent": "anyone", "display_name": "W" * 50} | fields)
    assert answer.status_code == 302, answer.content
    return answer["Location"], cookies_of(client)


@pytest.fixture
def visits(live_server: Any, collection: Sandbox, settings: Any) -> Visits:
    """Every page in every state, by URL and cookies. They are prepared before the browser starts."""
    settings.FRONTEND_URL = settings.SITE_URL = live_server.url
    settings.SUPPORT_CONTACT, settings.TERMS_URL, settings.MIN_AGE = "0800 100 100", "https://example.com/terms", 25
    settings.COMMISSION_FLAT, settings.MOMO_AUTO_APPROVE = 500, True
    collection.faults(callback="never")
    private = stake(Client(), "0772000010", 3000, create_private=True, invite_phone="0772000015", display_name="Alice")
    gone = stake(Client(), "0772000014", 3000, create_private=True)
    Entry.objects.filter(match_code=gone["match_code"]).update(expires_at="2026-01-01T00:00:00Z")
    waiting = placed(phone_number="0772000011", opponent="friend", invite_phone="0772000012")
    queue = placed(phone_number="0772000013", stake_amount="4000")
    stake(Client(), ALICE, 5000, display_name="A" * 50)
    met = stake(Client(), BOB, 5000, display_name="B" * 50)
    player = Client()
    match = f"/g/{met['game_token']}"
    own_match = player.get(match, {"pt": met["player_token"]})["Location"]
    stake(Client(), "0772000020", 6000)
    over = stake(Client(), "0772000021", 6000)
    ended = Session.objects.get(token=over["game_token"])
    ended.expires_at -= timedelta(days=1)
    ended.save()
    won = placed(phone_number="0772000022", stake_amount="8000")
    placed(phone_number="0772000023", stake_amount="8000")
    first, second = Payment.objects.order_by("-pk")[:2]
    MatchResult.objects.create(
        key="won",
        first=second,
        second=first,
        outcome="win",
        winner=second,
        prize="payable",
        recorded_by="game server",
        recorded_at=timezone.now(),
    )
    settings.MOMO_AUTO_APPROVE = False
    ringing = placed(phone_number=CAROL)
    silent = placed(phone_number="0772000030")
    Payment.objects.filter(phone="+256772000030").update(asked_at=timezone.now() - timedelta(minutes=4))
    failed = placed(phone_number=DAVE)
    settle(Payment.objects.latest("pk").pk, Payment.Status.FAILED, by="asking", reason="Payer declined")
    due = placed(phone_number="0772000031")
    settle(Payment.objects.latest("pk").pk, Payment.Status.SUCCESS, by="asking")
    age(player__phone="+256772000031")
    paid = placed(phone_number="0752000032", stake_amount="7000", opponent="friend")
    settle(Payment.objects.latest("pk").pk, Payment.Status.SUCCESS, by="asking")
    settings.MOMO_AUTO_APPROVE = True
    return {
        "start": ("/", {}),
        "join": (f"/join?match_code={private['match_code']}", {}),
        "join-gone": (f"/join?match_code={gone['match_code']}", {}),
        "start-own": ("/", queue[1]),
        "join-unknown": ("/join?match_code=ABC234", {}),
        "waiting": waiting,
        "searching": queue,
        "ringing": ringing,
        "silent": silent,
        "due": due,
        "start-due": ("/", due[1]),
        "paid": paid,
        "failed": failed,
        "retry": (f"{failed[0]}/retry", failed[1]),
        "match": (own_match, cookies_of(player)),
        "match-foreign": (match, {}),
        "match-over": (f"/g/{over['game_token']}", {}),
        "match-won": won,
        "wrong-link": (f"{match}?pt=wrong", {}),
        "link": ("/link?asked", {}),
        "no-page": ("/nowhere", {}),
    }


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    found: list[str] = []
    yield found
    # The statuses of the error pages are expected. Any other line is an error.
    assert [line for line in found if "status of 40" not in line] == []


def visit(context: BrowserContext, site: str, where: Visit) -> Page:
    path, cookies = where
    context.clear_cookies()
    context.set_default_timeout(15_000)
    for name, (value, folder) in cookies.items():
        context.add_cookies([{"name": name, "value": value, "domain": "localhost", "path": folder}])
    # A new page takes 0.1 s of CPU.
    page = context.pages[0] if context.pages else context.new_page()
    page.goto(site + path)
    return page


def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        width = page.evaluate("innerWidth")
        page.screenshot(path=Path(folder) / f"{name}-{width}.png", full_page=True)


# Contrast depends on the color scheme and width on the language, so two runs cover both.
@pytest.mark.parametrize(("scheme", "language"), [("light", "en"), ("dark", "lg")])
def test_every_page_can_be_read(
    visits: Visits, browser: Browser, live_server: Any, complaints: list[str], scheme: Any, language: str
) -> None:
    faults = []
    context = browser.new_context(viewport=SMALL, color_scheme=scheme, locale=language, has_touch=True)
    context.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    for name, where in visits.items():
        page = visit(context, live_server.url, where)
        if name == "start":  # This is the longest form: all fields, each with an error.
            page.locator("#id_phone_number").fill("123")
            page.locator("input[value=friend]").check()
            page.locator("#id_invite_phone").fill("456")
            picture(page, f"{scheme}-{language}-start-filled")
            page.locator("form.stake button.main").click()
            page.locator(".error").first.wait_for()
        page.wait_for_load_state()
        assert page.evaluate("document.documentElement.lang") == language
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            faults += [f"{name}: {node} sticks out at {width}" for node in page.evaluate(BEYOND)]
            if not fits(page, width):
                faults.append(f"{name} scrolls sideways at {width}")
            faults += [f"{name}: {node} is small at {width}" for node in page.evaluate(SMALL_TARGETS)]
            picture(page, f"{scheme}-{language}-{name}")
        texts = page.evaluate(CONTRAST)
        assert len(texts) > 5
        faults += [f"{name}: {text['text']!r} has {text['ratio']:.2f}" for text in texts if text["ratio"] < 4.5]
    assert not faults, "\n".join(faults)


def test_the_keyboard_goes_from_top_to_bottom_and_is_seen(visits: Visits, browser: Browser, live_server: Any) -> None:
    context = tab(browser, SMALL).context
    for name in ("start", "join", "waiting", "failed", "match", "wrong-link"):
        page = visit(context, live_server.url, visits[name])
        stops: list[dict[str, Any]] = []
        for _ in range(40):
            page.keyboard.press("Tab")
            stop = page.evaluate(FOCUS)
            if stop["body"]:
                break
            assert stop["seen"], (name, stop)
            assert stop["inside"], (name, stop)
            stops.append(stop)
        assert stops[0]["name"] == "Skip to the content"
        places = [(stop["top"], stop["left"]) for stop in stops[1:]]
        # Buttons in one row may differ by one pixel in height.
        assert places == sorted(places, key=lambda place: (round(place[0] / 12), place[1])), (name, stops)
        assert len(stops) >= 5
    page = visit(context, live_server.url, visits["start"])
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUS)["name"] == "id_phone_number"


def test_the_clock_runs_and_is_not_read_out(visits: Visits, browser: Browser, live_server: Any) -> None:
    for javascript in (True, False):
        context = tab(browser, LARGE, javascript).context
        for name in ("waiting", "match"):
            page = visit(context, live_server.url, visits[name])
            clock = page.get_by_role("timer")
            if not javascript:
                assert clock.inner_text() == "10 minutes"
                continue
            first = clock.inner_text()
            assert first[:3] in ("09:", "10:")
            assert len(first) == 5
            page.wait_for_function("first => document.querySelector('[role=timer]').textContent < first", arg=first)
            # Screen readers do not announce a tick of the clock.
            assert page.locator("#said").inner_text() == ""
            assert not page.locator("#part").get_attribute("aria-live")


def test_a_phone_s_wrong_clock_does_not_matter(visits: Visits, browser: Browser, live_server: Any) -> None:
    context = browser.new_context()
    context.add_init_script("const real = Date.now; Date.now = () => real.call(Date) + 3600e3;")
    page = visit(context, live_server.url, visits["waiting"])
    assert page.get_by_role("timer").inner_text()[:3] in ("09:", "10:")


def test_share_opens_the_phone_s_sheet_or_copies(visits: Visits, browser: Browser, live_server: Any) -> None:
    # Desktop Chromium has no `navigator.share`. This replacement records its arguments.
    context = browser.new_context()
    context.add_init_script("navigator.share = async (data) => { window.shared = data; };")
    page = visit(context, live_server.url, visits["waiting"])
    page.get_by_role("button", name="Share").click()
    shared = page.evaluate("window.shared")
    code = page.locator(".code").inner_text()
    assert shared["url"] == f"{live_server.url}/?match_code={code}"
    assert shared["text"] == f"Play Matatu with me for 2,000 UGX. Code: {code}"

    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    context.add_init_script("navigator.share = undefined;")
    page = visit(context, live_server.url, visits["waiting"])
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == f"{live_server.url}/?match_code={code}"
    assert page.locator("#said").inner_text() == "Copied"


def test_a_change_is_announced_and_focus_is_kept(
    visits: Visits, browser: Browser, live_server: Any, sandbox: Sandbox
) -> None:
    page = visit(tab(browser, LARGE).context, live_server.url, visits["waiting"])
    page.get_by_text("Your invite has been sent.").wait_for()
    page.locator("#cancel").focus()
    code = page.locator(".code").inner_text()
    sends = [request["body"] for request in sandbox.requests() if request["path"] == "/v3/api/send_sms/"]
    invite = next(body for body in sends if code in body["msg"])
    page.request.post(invite["dlr_url"], data={"status": "DELIVERED"})
    page.locator(".invite", has_text="Your invite has been delivered.").wait_for()
    assert "Your invite has been delivered." in (page.locator("#said").text_content() or "")
    assert page.evaluate("document.activeElement.id") == "cancel"


def test_the_language_is_switched_where_one_stands(visits: Visits, browser: Browser, live_server: Any) -> None:
    for javascript in (True, False):
        page = visit(tab(browser, LARGE, javascript).context, live_server.url, visits["waiting"])
        page.get_by_role("button", name="Kiswahili").click()
        page.get_by_role("heading", name="Tunamsubiri rafiki yako").wait_for()
        assert page.url == live_server.url + visits["waiting"][0]
        page.get_by_role("button", name="English").click()
        page.get_by_role("heading", name="Waiting for your friend").wait_for()


def test_a_double_tap_stakes_once(visits: Visits, browser: Browser, live_server: Any) -> None:
    page = visit(tab(browser, LARGE).context, live_server.url, visits["start"])
    page.get_by_label("Your mobile number").fill("0772000055")
    page.get_by_role("button", name="5,000").click()
    page.locator("input[value=anyone]").check()
    page.get_by_role("button", name="Pay 5,500 UGX").dblclick()
    page.get_by_role("heading", name="Searching for an opponent").wait_for()
    expect(page.get_by_text("5,000 UGX")).to_be_visible()


def test_a_lost_connection_is_shown_after_two_missed_polls(visits: Visits, browser: Browser, live_server: Any) -> None:
    """One missed poll is normal on a phone. After two, the page says so until a poll succeeds."""
    context = browser.new_context(viewport=SMALL)
    page = visit(context, live_server.url, visits["waiting"])
    missed = []
    page.on("requestfailed", lambda request: missed.append(request.url))
    notice = page.get_by_text("No connection. We keep trying.")
    context.set_offline(True)
    notice.wait_for()
    assert len(missed) >= 2
    assert page.locator("#offline").get_attribute("role") == "status"
    context.set_offline(False)
    notice.wait_for(state="hidden")


@pytest.mark.parametrize("javascript", [True, False])
def test_a_player_finds_the_way_back(
    visits: Visits, browser: Browser, live_server: Any, collection: Sandbox, javascript: bool
) -> None:
    """At 360 px in another browser, the stake is found by its number and cancelled for a refund."""
    page = tab(browser, {"width": 360, "height": 740}, javascript)
    page.set_default_timeout(15_000)
    page.goto(live_server.url)
    assert page.get_by_text("Your open stake").count() == 0
    page.get_by_role("link", name="Text me my link").click()
    page.get_by_label("Your mobile number").fill("+256 752 000 032")
    page.get_by_role("button", name="Text me my link").click()
    page.get_by_text("we are texting its link now").wait_for()
    text = wait_for(lambda: [one for one in collection.inbox() if one["text"].startswith("Your PlayMatatu stake: ")])
    assert text[0]["to"] == "0752000032"
    page.goto(text[0]["text"].split()[-1])
    page.get_by_role("heading", name="Waiting for your friend").wait_for()
    assert page.url == live_server.url + visits["paid"][0]
    page.get_by_text("You paid 7,500 UGX from 0752 000 032.").wait_for()
    assert fits(page, 360)
    page.goto(live_server.url)
    page.get_by_role("heading", name="Your open stake").wait_for()
    page.get_by_role("link", name="Open your stake").click()
    page.get_by_role("button", name="Cancel and get my money back").click()
    page.get_by_text("We will refund 7,500 UGX to 0752 000 032.").wait_for()
    page.goto(live_server.url)
    page.get_by_text("You are getting 7,500 UGX back.").wait_for()
