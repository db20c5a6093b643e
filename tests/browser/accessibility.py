"""What axe-core says about a page: faults that keep people from reading or using it."""

from __future__ import annotations

import json

from tests.browser.chromium import Chromium
from tests.browser.npm import Npm

# The impacts of faults that a page mustn't have.
BAD = ("serious", "critical")
# The label of the search in Django's own lists is a picture.
AXE = """axe.run({exclude: ["#searchbar"]}).then((found) => JSON.stringify(found.violations))"""

# The admin's links change their colours within a moment, for example after a change of the theme.
SETTLE = """Promise.allSettled(
  document.getAnimations().filter((found) => found instanceof CSSTransition)
    .map((found) => found.finished)
).then(() => true)"""


def faults(browser: Chromium, npm: Npm) -> list[str]:
    """Return the serious faults of the page that the browser shows, with the elements."""
    browser.run(npm.file("axe-core/axe.min.js").read_text())
    browser.run(SETTLE)
    found = json.loads(str(browser.run(AXE)))
    return [
        f"{fault['id']}: {node['html']}"
        for fault in found
        if fault["impact"] in BAD
        for node in fault["nodes"]
    ]
