"""The dashboard in a real browser: Debian's Chromium, driven by Playwright, with every complaint of the page kept."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Error, Page, ViewportSize, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[3]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE_MILLISECONDS = 90_000
DESK, PHONE = ViewportSize(width=1280, height=800), ViewportSize(width=360, height=740)
# Said in the page's own console whatever it does; told to the test as well, in case nobody logs it.
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


@contextmanager
def browsing() -> Iterator[Browser]:
    """A Chromium while the block lasts."""
    found = subprocess.run([str(ROOT / "hack/browser.sh")], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found.stdout.split()[0], args=["--no-sandbox"])
        yield browser
        browser.close()


class Tab:
    """A tab at a gateway. `complaints` are errors of scripts, of the console, and of the content security policy."""

    def __init__(self, browser: Browser, url: str, size: ViewportSize = DESK, **options: Any) -> None:
        self.url = url
        self.context = browser.new_context(viewport=size, base_url=url, **options)
        self.context.set_default_timeout(PATIENCE_MILLISECONDS)
        self.context.add_init_script(WATCH)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("pageerror", self._failed)
        self.page.on("console", self._said)

    def _failed(self, error: Error) -> None:
        self.complaints.append(f"{self.page.url}: {error}")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def __enter__(self) -> "Tab":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def go(self, path: str = "") -> Page:
        """Open a page of the dashboard, and wait until it is live where it ever is."""
        self.page.goto(f"/dashboard{path}")
        if self.page.locator("#live").count() and self.page.evaluate("typeof htmx === 'object'"):
            self.live()
        return self.page

    def live(self) -> None:
        """Wait until the page says that it is live."""
        expect(self.page.locator("#live")).to_have_attribute("data-live", "on")

    def sign_in(self, key: str) -> None:
        """With a key, by the form."""
        self.page.goto("/dashboard/sign-in")
        self.page.get_by_label("API key or token").fill(key)
        self.page.locator("main").get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("button", name="Sign out")).to_be_visible()

    def agree(self, question: str) -> None:
        """Say yes to what the page asks."""
        dialog = self.page.get_by_role("dialog")
        expect(dialog).to_contain_text(question)
        dialog.get_by_role("button", name="Go ahead").click()

    def violations(self) -> list[str]:
        """Of the content security policy, on the page that is open."""
        return list(self.page.evaluate("window.violations"))

    def barriers(self) -> list[str]:
        """What axe-core finds serious or critical on the page that is open."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
        return [
            f"{each['impact']} {each['id']}: {each['help']}: {[node['html'][:160] for node in each['nodes'][:3]]}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
        ]

    def too_wide(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
