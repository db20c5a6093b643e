"""A headless Chromium with one page, driven by Selenium."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service

from tests.waiting import LIMIT, eventually

# Root in a container has no sandbox, and its /dev/shm is small. The rest keeps a browser from
# looking for its maker's servers, which a machine without a network can't reach.
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
DRIVER = "chromedriver"
# The levels of a page's complaints in the console.
LEVELS = ("WARNING", "SEVERE")
# No complaints about a page: no browser stops asking for the icon, and on a machine that stands
# still for a while Chromium takes a connection that has just been closed. A test of what the page
# then lacks fails all the same.
OF_THE_BROWSER = ("/favicon.ico", "net::ERR_EMPTY_RESPONSE", "net::ERR_SOCKET_NOT_CONNECTED")
# Keys: the name and the number that pages are told, and the text that the key writes.
KEYS = {
    "Enter": ("Enter", 13, "\r"),
    "Space": (" ", 32, " "),
    "Tab": ("Tab", 9, ""),
    "Shift+Tab": ("Tab", 9, ""),
}
# What the browser says of a page that is being exchanged for the next one.
LEAVING = ("context", "navigated", "frame was detached")


class Chromium:
    """One page of a browser of its own; closed by the `with` statement."""

    def __init__(self, program: str, *, width: int = 1280, height: int = 900) -> None:
        self._program, self._size = program, (width, height)

    def __enter__(self) -> Self:
        options = webdriver.ChromeOptions()
        options.binary_location = self._program
        for option in OPTIONS:
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self._driver = webdriver.Chrome(options, Service(find_driver()))
        self._driver.set_page_load_timeout(LIMIT)
        self.resize(*self._size)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._driver.quit()

    def forget(self) -> None:
        """Leave the page, and forget what a test has set and what sites have stored."""
        if (origin := str(self.run("location.origin"))).startswith("http"):
            self._ask("Storage.clearDataForOrigin", origin=origin, storageTypes="all")
        self._ask("Network.clearBrowserCookies")
        self.set_scripts(are_run=True)
        self.prefer()
        self.go("about:blank")
        self.resize(*self._size)
        self.complaints()

    def resize(self, width: int, height: int) -> None:
        """Give the page a size in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, **features: str) -> None:
        """Set what its user prefers: `prefers_color_scheme="dark"`."""
        named = [{"name": name.replace("_", "-"), "value": features[name]} for name in features]
        self._ask("Emulation.setEmulatedMedia", features=named)

    def set_scripts(self, *, are_run: bool) -> None:
        """Run the scripts of the pages that are opened from now on, or don't."""
        self._ask("Emulation.setScriptExecutionDisabled", value=not are_run)

    def set_cookie(self, url: str, name: str, value: str) -> None:
        """Send a cookie to a site from now on."""
        self._ask("Network.setCookie", url=url, name=name, value=value)

    def go(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        self._driver.get(url)

    def click(self, selector: str) -> None:
        """Click on what leads to another page, and wait until that is loaded."""
        self.run("window.isLeft = true")
        self.run(f"document.querySelector({json.dumps(selector)}).click()")
        self.wait_for_load()

    def press(self, key: str) -> None:
        """Press a key, by its name in `KEYS`, where the focus is."""
        name, code, text = KEYS[key]
        named = {"key": name, "code": name, "windowsVirtualKeyCode": code}
        shift = {"modifiers": 8} if key.startswith("Shift+") else {}
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self._ask("Input.dispatchKeyEvent", **down, **named, **shift)
        self._ask("Input.dispatchKeyEvent", type="keyUp", **named, **shift)

    def wait_for_load(self) -> None:
        """Wait for the page after this one."""
        self.wait(lambda: self.run("!window.isLeft && document.readyState === 'complete'"))

    def wait_for_text(self, text: str) -> None:
        """Wait until the page shows it."""
        self.wait(lambda: text in self.text)

    def wait(self, check: Callable[[], Any]) -> None:
        """Wait until something is so."""
        try:
            eventually(check, every=0.05)
        except AssertionError as error:
            raise AssertionError(f"{error} The page: {self.text}") from error

    @property
    def text(self) -> str:
        """The text that the page shows."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def run(self, script: str) -> Any:
        """The value of an expression in the page, or of its promise.

        None while the page is being exchanged.
        """
        try:
            answer = self._ask(
                "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
            )
        except WebDriverException as error:
            if any(word in str(error.msg).lower() for word in LEAVING):
                return None
            raise
        assert "exceptionDetails" not in answer, answer
        return answer.get("result", {}).get("value")

    def complaints(self) -> list[str]:
        """The errors and warnings that the console has shown since the last call."""
        entries = self._driver.get_log("browser")
        return [
            str(entry["message"])
            for entry in entries
            if entry["level"] in LEVELS
            and not any(text in entry["message"] for text in OF_THE_BROWSER)
        ]

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Minimize the window for the length of a block."""
        self._driver.minimize_window()
        self.wait(lambda: self.run("document.hidden"))
        yield
        self._driver.set_window_rect(width=self._size[0], height=self._size[1])
        self.wait(lambda: not self.run("document.hidden"))

    def save_picture(self, path: Path) -> None:
        """Save a PNG of the page."""
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot")["data"]))

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._driver.execute_cdp_cmd(method, params)
        return answer


# The names of the program, where `DBOS_TEST_CHROMIUM` gives no path.
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser(given: str | None) -> str:
    """Return the path of a Chromium; raise LookupError with what to install."""
    if found := given or next(filter(None, map(shutil.which, PROGRAMS)), None):
        return found
    raise LookupError(
        "There is no Chromium for the browser tests. Install one (Debian's packages are chromium "
        "and chromium-driver), or give its path in DBOS_TEST_CHROMIUM; 'none' leaves these tests "
        "out."
    )


def find_driver() -> str:
    """Return the path of ChromeDriver; raise LookupError with what to install."""
    if found := shutil.which(DRIVER):
        return found
    raise LookupError(
        f"There is no {DRIVER!r} on the path for the browser tests. Install Debian's package "
        "chromium-driver, or the ChromeDriver of your Chromium's version."
    )
