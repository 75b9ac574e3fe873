"""Make all pictures of this folder in a browser, on a fresh site that `make run` has started.

.venv/bin/python docs/screenshots/make.py [SITE [SANDBOX]]
"""

import base64
import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from story import Story

HERE = Path(__file__).parent
SITE = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
SANDBOX = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8025"
WIDTH, HEIGHT = 360, 740


def main() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        pages, phones = play(browser)
        (HERE / "phones.png").write_bytes(phones)
        (HERE / "pages.png").write_bytes(side_by_side(browser, pages))
        story(browser, HERE / "story.gif")
        overview(browser)
        browser.close()


def play(browser: Browser) -> tuple[list[bytes], bytes]:
    """Play from the form to the match. Return pictures of the pages, and one of the phones with a payment prompt."""
    alice, bob, carol = player(browser), player(browser, dark=True), player(browser)
    phones = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    phones.goto(SANDBOX)
    fill(carol, "/", "0782 000 003", "Carol", "1000", "Anyone")
    carol.get_by_role("button", name="Pay").click()
    tap(phones, "0782 000 003", "Decline")
    fill(alice, "/", "0772 000 001", "Alice", "5000", "Invite a friend")
    alice.get_by_label("Your friend's number").fill("0752 000 002")
    at_top(alice)
    shots = [alice.screenshot()]
    alice.get_by_role("button", name="Pay").click()
    alice.get_by_role("heading", name="Confirm").wait_for()
    shots.append(alice.screenshot())
    tap(phones, "0772 000 001", "Pay")
    alice.locator(".invite", has_text="has been delivered").wait_for()
    shots.append(alice.screenshot())
    fill(bob, invite(), "0752 000 002", "Bob")
    at_top(bob)
    shots.append(bob.screenshot())
    bob.get_by_role("button", name="Pay").click()
    phones.get_by_role("region", name="0752 000 002").get_by_text("Airtel Money").wait_for()
    phones.wait_for_timeout(2000)  # Wait for the delivery reports.
    at_top(phones)
    asking = phones.screenshot()
    tap(phones, "0752 000 002", "Pay")
    alice.get_by_role("heading", name="Your match").wait_for()
    alice.get_by_text("is here", exact=True).wait_for()
    shots.append(alice.screenshot())
    return shots, asking


def story(browser: Browser, path: Path) -> None:
    """Play another match and film the page beside the phones of both players."""
    alice, bob = player(browser, height=560), player(browser, height=560)
    phones = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    phones.goto(SANDBOX)
    story = Story(phones, "0772 000 011", "0752 000 012")
    fill(alice, "/", "0772 000 011", "Alice", "5000", "Invite a friend")
    alice.get_by_label("Your friend's number").fill("0752 000 012")
    at_top(alice)
    story.shoot("Alice stakes 5,000 UGX and invites Bob", alice, 2.5)
    alice.get_by_role("button", name="Pay").click()
    alice.get_by_role("heading", name="Confirm").wait_for()
    story.shoot("Her phone asks her to pay", alice, 2.5)
    tap(phones, "0772 000 011", "Pay")
    alice.locator(".invite", has_text="has been delivered").wait_for()
    story.shoot("She has paid: Bob gets the invite by SMS", alice, 3)
    fill(bob, invite(), "0752 000 012", "Bob")
    at_top(bob)
    story.shoot("Bob opens its link", bob, 2.5)
    bob.get_by_role("button", name="Pay").click()
    bob.get_by_role("heading", name="Confirm").wait_for()
    story.shoot("His phone asks him to pay", bob, 2.5)
    tap(phones, "0752 000 012", "Pay")
    bob.get_by_role("heading", name="Your match").wait_for()
    alice.get_by_text("is here", exact=True).wait_for()
    story.shoot("He has paid: both get the link to the match", bob, 3)
    bob.get_by_role("link", name="Play now").click()
    bob.get_by_role("button", name="I win").click()
    alice.get_by_role("heading", name="You lost").wait_for()
    bob.goto(f"{SITE}/waiting")
    bob.get_by_text("We sent it to").first.wait_for()
    story.shoot("Bob wins: the prize is on his phone", bob, 4)
    story.save(path)


def overview(browser: Browser) -> None:
    """Add made-up messages, and take pictures of the SMS overview in light and dark."""
    subprocess.run(
        ["make", "-s", "manage", "ARGS=shell"],
        cwd=HERE.parents[1],
        input=(HERE / "made_up.py").read_bytes(),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    password = (HERE.parents[1] / "var" / "admin-password").read_text().strip()
    for scheme, name in (("light", "overview.png"), ("dark", "overview-dark.png")):
        page = browser.new_context(viewport={"width": 1280, "height": 1280}, color_scheme=scheme).new_page()  # type: ignore[arg-type]
        page.goto(f"{SITE}/admin/sms/")
        page.get_by_label("Username").fill("admin")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("heading", name="By network").wait_for()
        (HERE / name).write_bytes(page.screenshot())


def player(browser: Browser, *, dark: bool = False, height: int = HEIGHT) -> Page:
    scheme = "dark" if dark else "light"
    return browser.new_context(viewport={"width": WIDTH, "height": height}, color_scheme=scheme).new_page()


def fill(page: Page, path: str, number: str, name: str, amount: str = "", opponent: str = "") -> None:
    page.goto(SITE + path)
    page.get_by_label("Your mobile number").fill(number)
    page.get_by_label("Your name").fill(name)
    if amount:
        page.get_by_label("Your stake in UGX").fill(amount)
        page.get_by_label(opponent).check()


def at_top(page: Page) -> None:
    """Prepare the page for a picture: remove the focus and scroll to the top."""
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")


def tap(phones: Page, number: str, button: str) -> None:
    """Press a button of the payment prompt on a phone."""
    phones.get_by_role("region", name=number).get_by_role("button", name=button, exact=True).click()


def invite() -> str:
    """Return the path of the link in the newest invite."""
    with urllib.request.urlopen(f"{SANDBOX}/inbox.json", timeout=5) as answer:  # noqa: S310
        text = next(text["text"] for text in json.load(answer) if "Join my" in text["text"])
    return str(text.split()[-1].removeprefix(SITE))


def side_by_side(browser: Browser, pictures: list[bytes]) -> bytes:
    images = "".join(f'<img src="data:image/png;base64,{base64.b64encode(each).decode()}">' for each in pictures)
    width = len(pictures) * (WIDTH + 12) + 12
    page = browser.new_context(viewport={"width": width, "height": HEIGHT + 24}).new_page()
    style = (
        "body{margin:12px;display:flex;gap:12px;background:#e9eee9}img{border-radius:16px;box-shadow:0 2px 8px #0005}"
    )
    page.set_content(f"<style>{style}</style>{images}")
    return page.screenshot()


if __name__ == "__main__":
    main()
