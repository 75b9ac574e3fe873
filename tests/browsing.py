"""Steps that several tests with a browser take. A test that measures a page first waits until it has loaded.

After a click that opens another page, Playwright finds headings and texts before the page's stylesheets are there.
Sizes and scroll positions are then those of a page without style, and change when a stylesheet arrives.
"""

from collections import defaultdict

from playwright.sync_api import Browser, Error, Page, ViewportSize

# Pages that no test uses, by the options of their contexts. A new page needs a new process, which takes 0.2 s of CPU.
_unused: defaultdict[tuple[bool, str], list[Page]] = defaultdict(list)
_used: list[tuple[tuple[bool, str], Page]] = []


def tab(browser: Browser, size: ViewportSize, javascript: bool = True, color_scheme: str = "light") -> Page:
    """Return an empty page in a context without other pages, cookies and storage. Earlier tests may have used it."""
    options = (javascript, color_scheme)
    if not _unused[options]:
        context = browser.new_context(java_script_enabled=javascript, color_scheme=color_scheme)  # type: ignore[arg-type]
        _unused[options].append(context.new_page())
    page = _unused[options].pop()
    _used.append((options, page))
    page.set_viewport_size(size)
    page.set_default_timeout(30_000)
    return page


def tidy(browser: Browser) -> None:
    """Empty the pages that the test got from `tab`, and close all others."""
    for options, page in _used:
        try:
            page.evaluate("localStorage.clear(), sessionStorage.clear(), location.replace('about:blank')")
            page.wait_for_url("about:blank")
            for other in page.context.pages:
                if other is not page:
                    other.close()
            page.context.clear_cookies()
            _unused[options].append(page)
        except Error:
            page.context.close()
    _used.clear()
    kept = [page.context for pages in _unused.values() for page in pages]
    for context in browser.contexts:
        if context not in kept:
            context.close()


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
