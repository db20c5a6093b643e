"""What axe-core says about a page: faults that keep people from reading or using it."""

from __future__ import annotations

import json

from tests.browser.chromium import Chromium
from tests.browser.npm import Npm

# The impacts of faults that a page mustn't have.
BAD = ("serious", "critical")


def faults(browser: Chromium, npm: Npm) -> list[str]:
    """Return the serious faults of the page that the browser shows, with the elements."""
    browser.run(npm.file("axe-core/axe.min.js").read_text())
    browser.run(
        "window.axeFound = undefined;"
        "axe.run(document).then(found => { window.axeFound = JSON.stringify(found.violations) });"
    )
    browser.wait(lambda: browser.run("window.axeFound !== undefined"))
    found = json.loads(str(browser.run("window.axeFound")))
    return [
        f"{fault['id']}: {node['html']}"
        for fault in found
        if fault["impact"] in BAD
        for node in fault["nodes"]
    ]
