"""Steps that several tests with a browser take. A test that measures a page first waits until it has loaded.

After a click that opens another page, Playwright finds headings and texts before the page's stylesheets are there.
Sizes and scroll positions are then those of a page without style, and change when a stylesheet arrives.
"""

from playwright.sync_api import Page


def log_in(page: Page, url: str, name: str = "grace") -> None:
    """Open a page of the admin as the user `name`, and wait until it has loaded."""
    page.set_default_timeout(15_000)
    page.goto(url)
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(f"secret-of-{name}")
    with page.expect_event("load"):
        page.get_by_role("button", name="Log in").click()


def fits(page: Page, width: int) -> bool:
    """Return True if the page needs no sideways scrolling on a screen of this width."""
    page.wait_for_load_state()
    return int(page.evaluate("document.documentElement.scrollWidth")) <= width
