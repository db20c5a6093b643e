"""axe-core, which finds faults that keep people with disabilities from using a page."""

from __future__ import annotations

import json
from pathlib import Path

from tests.browser.chromium import Chromium

GRAVE = ("serious", "critical")
# The label of the search in Django's own lists is a picture.
RUN = """axe.run({exclude: ["#searchbar"]}).then((found) => JSON.stringify(
  found.violations.map(({id, impact, help, nodes}) => (
    {id, impact, help, nodes: nodes.map(({html, target}) => [target.join(" "), html.slice(0, 200)])}
  ))
))"""


def find_faults(page: Chromium, script: Path) -> list[str]:
    """Return the serious faults of the page that is open."""
    page.run(f"{script.read_text()}; 0")
    found = json.loads(page.run(RUN))
    return [f"{one['id']}: {one['help']} {one['nodes']}" for one in found if one["impact"] in GRAVE]
