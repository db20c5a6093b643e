"""Live pages as people look at them: light, dark, on a phone, and with a screen reader."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

import django_dbos as dbos
from example_project.shop.models import Product
from example_project.shop.workflows import checkout
from tests.browser import pictures
from tests.browser.accessibility import faults
from tests.browser.chromium import Chromium
from tests.browser.npm import Npm
from tests.browser.servers import Server
from tests.browser.test_elements import address
from tests.browser.workflows import Narrator
from tests.waiting import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]

ANSWER = (
    "A **durable** workflow writes each step to the database. ",
    "When its process dies, another one goes on after the last step",
)


@pytest.fixture
def pages(server: Server) -> dict[str, str]:
    """The addresses of the pages, with something on each."""
    narrator = Narrator()
    narrator.set("k", {"done": 3, "total": 8, "text": "Sorting the pictures"})
    narrator.write("k", *ANSWER)
    Product.objects.create(sku="KETTLE", name="Kettle", price=Decimal("49.00"), stock=10)
    order = checkout.start("KETTLE", 1, f"{server.url}/payments/")
    dbos.get_event(order.workflow_id, "payment_url")
    eventually(lambda: len(list(dbos.read_stream(narrator.workflow_id, "k", wait=False))) == 2)
    dbos.get_event(narrator.workflow_id, "k")
    return {
        "elements": address(server, "all", narrator.workflow_id, key="k"),
        "refused": address(server, "all", "no-such-workflow", key="k"),
        "order": f"{server.url}/orders/{order.workflow_id}/",
        "catalogue": f"{server.url}/",
        "imports": f"{server.url}/imports/",
    }


def test_pages_look_well_and_have_no_serious_fault(
    viewer: Chromium, pages: dict[str, str], npm: Npm
) -> None:
    bad: dict[str, Any] = {}
    for name, url in pages.items():
        pictures.take(viewer, url, f"live-{name}")
        for scheme in ("light", "dark"):
            viewer.prefer(prefers_color_scheme=scheme)
            if found := faults(viewer, npm):
                bad[f"{name}, {scheme}"] = found

    assert bad == {}
    assert viewer.complaints() == []


THEME = {
    "--dbos-live-accent": "rgb(1, 2, 3)",
    "--dbos-live-track": "rgb(4, 5, 6)",
    "--dbos-live-height": "20px",
    "--dbos-live-radius": "3px",
    "--dbos-live-log-height": "77px",
}
# What the browser makes of each of them. The accent is seen in the moving part of a bar.
LOOKS = """(() => {
  const of = (selector) => getComputedStyle(document.querySelector(selector));
  const bar = of("dbos-progress .dbos-bar");
  return {
    "--dbos-live-accent": of("dbos-progress").getPropertyValue("--dbos-live-bar"),
    "--dbos-live-track": bar.backgroundColor,
    "--dbos-live-height": bar.height,
    "--dbos-live-radius": bar.borderRadius,
    "--dbos-live-log-height": of("dbos-stream .dbos-log").maxHeight,
  };
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_site_has_its_own_colours_and_sizes(
    viewer: Chromium, pages: dict[str, str], scheme: str
) -> None:
    viewer.prefer(prefers_color_scheme=scheme)
    viewer.go(pages["elements"])
    assert not set(viewer.run(LOOKS).items()) & set(THEME.items())

    for name, value in THEME.items():
        viewer.run(
            "document.querySelectorAll('dbos-progress, dbos-stream')"
            f".forEach(element => element.style.setProperty('{name}', '{value}'))"
        )

    assert viewer.run(LOOKS) == THEME
