"""Players who use a real browser."""

from playwright.sync_api import Browser, Page, ViewportSize

from tests.browsing import fits, tab

PHONE: ViewportSize = {"width": 360, "height": 740}


class Player:
    """A phone with its own browser. `complaints`: the errors that the browser's console has shown."""

    def __init__(self, browser: Browser, site: str, number: str, name: str, javascript: bool = True) -> None:
        self.page: Page = tab(browser, PHONE, javascript)
        self.page.set_default_timeout(15_000)
        self.site, self.number, self.name = site, number, name
        self.complaints: list[str] = []
        self.page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)

    def fill(self, path: str = "/", amount: str = "") -> None:
        self.page.goto(self.site + path)
        self.page.get_by_label("Your mobile number").fill(self.number)
        self.page.get_by_label("Your name").fill(self.name)
        if amount:
            self.page.get_by_label("Your stake in UGX").fill(amount)

    def stake(self) -> None:
        self.page.get_by_role("button", name="Pay").click()

    def fits(self) -> None:
        """Assert that the page is not wider than the screen of a small phone."""
        assert fits(self.page, PHONE["width"])
