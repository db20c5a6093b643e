"""The pages of the guide in a browser: its templates, scripts and recipes, as they are written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.executor import Executor
from tests.browser.chromium import Chromium
from tests.browser.npm import Npm
from tests.browser.servers import Server
from tests.browser.workflows import Narrator

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker", "guide")]

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "pages.md"
# A block that begins with a comment that names its file.
FILES = re.compile(
    r"^```[\w+]+\n(?:\{# |// |/\* )orders/(?:static|templates|frontend)/(\S+)[^\n]*\n(.*?)^```",
    re.MULTILINE | re.DOTALL,
)
TOTAL = 4


@pytest.fixture(scope="module")
def guide(site_folder: Path, npm: Npm) -> None:
    """Write the guide's files, and those of the packages, where the site finds them."""
    found = dict(FILES.findall(GUIDE.read_text()))
    assert len(found) == 12
    for path, text in found.items():
        kind = "templates" if path.endswith(".html") else "static"
        target = site_folder / kind / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    static = site_folder / "static"
    shutil.copy(npm.file("htmx.org/dist/htmx.min.js"), static)
    shutil.copy(npm.file("@alpinejs/csp/dist/cdn.min.js"), static / "alpine-csp.min.js")
    npm.bundle(static / "answer.jsx", static / "answer.js")


def address(server: Server, template: str, narrator: Narrator) -> str:
    return f"{server.url}/guide/{template}/{narrator.workflow_id}/"


def progress(done: int) -> dict[str, Any]:
    return {"done": done, "total": TOTAL, "text": "Packing"}


def test_the_page_of_an_order(viewer: Chromium, server: Server) -> None:
    narrator = Narrator()
    viewer.go(address(server, "order", narrator))

    narrator.set("progress", progress(1))
    narrator.set("status", "packing")
    narrator.write("log", "Parcel 1 is packed")

    viewer.wait_for_text("25\N{NO-BREAK SPACE}%")
    viewer.wait_for_text("packing")
    viewer.wait_for_text("Parcel 1 is packed")
    assert viewer.complaints() == []


def test_items_of_a_template(viewer: Chromium, server: Server) -> None:
    stages: list[dict[str, Any]] = [
        {"stage": "paid", "text": "Paid"},
        {"stage": "sent", "text": "Sent", "url": "/track/7", "link": "Track it"},
        {"stage": "<b>", "text": "<b>", "url": "javascript:alert(1)", "link": "Don't"},
    ]
    narrator = Narrator()
    narrator.write("stages", *stages)
    list(zip(range(3), dbos.read_stream(narrator.workflow_id, "stages"), strict=False))
    viewer.go(address(server, "staged", narrator))
    items = """[...document.querySelectorAll(".dbos-entries > li")].map((item) => [
      item.dataset.stage, item.textContent.trim().replace(/\\s+/g, " "),
      item.querySelector("a")?.getAttribute("href") ?? null])"""
    rendered = viewer.run(items)
    assert rendered[:2] == [["paid", "Paid", None], ["sent", "Sent Track it", "/track/7"]]

    narrator.write("stages", *stages)
    viewer.wait(lambda: len(viewer.run(items)) == 6)

    live = viewer.run(items)[3:]
    assert live[:2] == rendered[:2]
    assert live[2] == ["<b>", "<b> Don't", None]


def test_a_script_of_ones_own(viewer: Chromium, server: Server) -> None:
    narrator = Narrator()
    viewer.go(address(server, "own", narrator))
    narrator.write("log", "one")
    viewer.wait_for_text("one")

    viewer.run("document.querySelector('#stop').click()")
    narrator.write("log", "two")
    list(zip(range(2), dbos.read_stream(narrator.workflow_id, "log"), strict=False))
    assert "two" not in viewer.text


def test_htmx(viewer: Chromium, server: Server) -> None:
    narrator = Narrator()
    viewer.go(address(server, "htmx", narrator))
    narrator.set("progress", progress(2))
    viewer.wait_for_text("50\N{NO-BREAK SPACE}%")
    assert "Your receipt will be here." in viewer.text

    narrator.end()

    viewer.wait_for_text("This is the receipt.")
    assert viewer.complaints() == []


def test_alpine(viewer: Chromium, server: Server) -> None:
    narrator = Narrator()
    viewer.go(address(server, "alpine", narrator))
    narrator.set("progress", progress(1))

    viewer.wait_for_text("3 parcels are left.")
    assert viewer.complaints() == []


def test_react(viewer: Chromium, server: Server, worker: Executor) -> None:
    narrator = Narrator()
    narrator.write("log", "one", "two")
    viewer.go(address(server, "react", narrator))
    viewer.wait_for_text("one, two")

    server.kill()
    server.start()
    narrator.write("log", "three")

    viewer.wait_for_text("one, two, three")
    assert viewer.text.count("one") == 1
