"""Makes `phones.png` and `pages.png` anew, in a browser, on a fresh site that `make run` has started:

.venv/bin/python docs/screenshots/make.py [SITE [SANDBOX]]
"""

import base64
import json
import shutil
import sys
import urllib.request
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

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
        browser.close()


def play(browser: Browser) -> tuple[list[bytes], bytes]:
    """A match from the form to its page: the pages on the way, and the phones while one of them asks."""
    alice, bob, carol = player(browser), player(browser, dark=True), player(browser)
    phones = browser.new_context(viewport={"width": 1280, "height": 680}).new_page()
    phones.goto(SANDBOX)

    def tap(number: str, button: str) -> None:
        phones.get_by_role("region", name=number).get_by_role("button", name=button, exact=True).click()

    fill(carol, "/", "0782 000 003", "Carol", "1000", "Anyone")
    carol.get_by_role("button", name="Pay").click()
    tap("0782 000 003", "Decline")
    fill(alice, "/", "0772 000 001", "Alice", "5000", "Invite a friend")
    alice.get_by_label("Your friend's number").fill("0752 000 002")
    alice.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    shots = [alice.screenshot()]
    alice.get_by_role("button", name="Pay").click()
    alice.get_by_role("heading", name="Confirm").wait_for()
    shots.append(alice.screenshot())
    tap("0772 000 001", "Pay")
    alice.locator(".invite", has_text="has been delivered").wait_for()
    shots.append(alice.screenshot())
    [link] = [text["text"].split()[-1] for text in inbox() if "Join my" in text["text"]]
    fill(bob, link.removeprefix(SITE), "0752 000 002", "Bob")
    bob.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    shots.append(bob.screenshot())
    bob.get_by_role("button", name="Pay").click()
    phones.get_by_role("region", name="0752 000 002").get_by_text("Airtel Money").wait_for()
    phones.wait_for_timeout(2000)  # until the reports are in, and nothing moves
    asking = phones.screenshot()
    tap("0752 000 002", "Pay")
    alice.get_by_role("heading", name="Your match").wait_for()
    alice.locator("main").get_by_text("is here").first.wait_for()
    shots.append(alice.screenshot())
    return shots, asking


def player(browser: Browser, *, dark: bool = False) -> Page:
    scheme = "dark" if dark else "light"
    return browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme).new_page()


def fill(page: Page, path: str, number: str, name: str, amount: str = "", opponent: str = "") -> None:
    page.goto(SITE + path)
    page.get_by_label("Your mobile number").fill(number)
    page.get_by_label("Your name").fill(name)
    if amount:
        page.get_by_label("Your stake in UGX").fill(amount)
        page.get_by_label(opponent).check()


def inbox() -> list[dict[str, str]]:
    with urllib.request.urlopen(f"{SANDBOX}/inbox.json", timeout=5) as answer:  # noqa: S310
        return list(json.load(answer))


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
