"""A headless Chromium, driven over its DevTools protocol: no driver, no other package."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import connect

from tests.waiting import LIMIT

PATIENCE = LIMIT
# Root in a container has no sandbox, and its /dev/shm is small.
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
)


class Chromium:
    """One page of a browser of its own; closed by the `with` statement."""

    def __init__(self, program: str, *, width: int = 1280, height: int = 900) -> None:
        self._program, self._size = program, (width, height)
        self._profile = Path(tempfile.mkdtemp(prefix="dbos-chromium-"))
        self._numbers = itertools.count(1)
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._open:
            self._open.callback(shutil.rmtree, self._profile, ignore_errors=True)
            process = subprocess.Popen(
                [self._program, *OPTIONS, f"--user-data-dir={self._profile}", "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self._open.callback(process.wait)
            self._open.callback(process.kill)
            address = self._page_address(process)
            self._socket = self._open.enter_context(connect(address, max_size=None))
            self._ask("Page.enable")
            self.resize(*self._size)
            self._open = self._open.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def resize(self, width: int, height: int) -> None:
        """Give the page a size in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **size)

    def set_cookie(self, url: str, name: str, value: str) -> None:
        """Send a cookie to a site from now on."""
        self._ask("Network.setCookie", url=url, name=name, value=value)

    def go(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        self.run("window.isLeft = true")
        answer = self._ask("Page.navigate", url=url)
        assert not answer.get("errorText"), f"{url}: {answer['errorText']}"
        self.wait_for_load()

    def click(self, selector: str) -> None:
        """Click on what leads to another page, and wait until that is loaded."""
        self.run("window.isLeft = true")
        self.run(f"document.querySelector({json.dumps(selector)}).click()")
        self.wait_for_load()

    def wait_for_load(self) -> None:
        """Wait for the page after this one."""
        self.wait(lambda: self.run("!window.isLeft && document.readyState === 'complete'"))

    def wait_for_text(self, text: str) -> None:
        """Wait until the page shows it."""
        self.wait(lambda: text in self.text)

    def wait(self, check: Callable[[], Any]) -> None:
        """Wait until something is so."""
        until = time.monotonic() + PATIENCE
        while not check():
            assert time.monotonic() < until, f"It didn't become so in time. The page: {self.text}"
            time.sleep(0.05)

    @property
    def text(self) -> str:
        """The text that the page shows."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def run(self, script: str) -> Any:
        """The value of an expression in the page; None while it is being exchanged."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer.get("result", {}).get("value")

    def save_picture(self, path: Path) -> None:
        """Save a PNG of the page."""
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot")["data"]))

    def _page_address(self, process: subprocess.Popen[bytes]) -> str:
        """Chromium writes its port into a file, once it listens."""
        found = self._profile / "DevToolsActivePort"
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            assert process.poll() is None, "Chromium has ended."
            with contextlib.suppress(OSError, IndexError, StopIteration):
                port = found.read_text().splitlines()[0]
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                    pages = json.load(answer)
                return str(next(p for p in pages if p["type"] == "page")["webSocketDebuggerUrl"])
            time.sleep(0.05)
        raise AssertionError("Chromium doesn't answer.")

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=PATIENCE))
            if answer.get("id") == number:
                result: dict[str, Any] = answer.get("result", {})
                return result
