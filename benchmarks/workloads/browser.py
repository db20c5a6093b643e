from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from benchmarks.sockets import server
from benchmarks.systems.system import PATIENCE, BenchmarkError
from benchmarks.workloads.workload import Values, percentiles, workload

if TYPE_CHECKING:
    from tests.browser.chromium import Chromium

# Seconds between two values: each arrives before the next one is written.
PAUSE = 0.05
# Values before those that count: the page's script is compiled meanwhile.
FIRST = 10
# The page notes when each value is in its document, by the clock of the machine.
OBSERVE = """
(() => {
  window.arrivals = [];
  const note = () => {
    const text = document.querySelector(".dbos-entries").lastElementChild?.textContent;
    const now = (performance.timeOrigin + performance.now()) / 1000;
    if (text) window.arrivals.push([Number(text), now]);
  };
  const place = document.querySelector("dbos-stream");
  new MutationObserver(note).observe(place, { childList: true, subtree: true });
})()
"""


@workload(
    "write to frame in the browser",
    units={"p50": "ms", "p99": "ms"},
    needs="start_followed stream_token",
    size=200,
    quick_size=20,
    limit=300,
)
def browser(system: Any, count: int) -> Values:
    """A page in headless Chromium shows a stream: from before a write until its value is there."""
    (workflow_id,), _ = system.start_followed(1, 1)
    with watched(workflow_id, system.stream_token(workflow_id)) as page:
        for _ in range(FIRST + count):
            system.write_values([workflow_id], time.time())
            time.sleep(PAUSE)
        until = time.monotonic() + PATIENCE
        while len(found := page.run("window.arrivals")) < FIRST + count:
            if time.monotonic() > until:
                raise BenchmarkError(f"{len(found)} values are on the page: {page.text[-500:]}")
            time.sleep(0.1)
    return percentiles([arrived - written for written, arrived in found[FIRST:]])


@contextmanager
def watched(workflow_id: str, token: str) -> Iterator[Chromium]:
    """Open the page that shows a workflow's stream, and yield it once it follows that."""
    # The browser tests need a browser and its driver, too.
    from tests.browser.chromium import Chromium, find_browser

    query = urlencode({"workflow_id": workflow_id, "token": token})
    settings = {"DJANGO_SETTINGS_MODULE": "benchmarks.settings_pages"}
    with (
        server("benchmarks.asgi_pages", settings) as (_, port),
        Chromium(find_browser(os.environ.get("DBOS_TEST_CHROMIUM"))) as page,
    ):
        page.go(f"http://127.0.0.1:{port}/live/?{query}")
        page.wait(lambda: page.run("document.querySelector('dbos-stream').dataset.state") == "live")
        page.run(OBSERVE)
        yield page
