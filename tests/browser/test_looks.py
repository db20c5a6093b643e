"""Live pages as people look at them: light, dark, on a phone, and with a screen reader."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.urls import reverse

import django_dbos as dbos
from example_project.shop.models import Product
from example_project.shop.workflows import checkout
from tests.browser import pictures, shop
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


def test_the_admin_has_no_serious_fault(viewer: Chromium, server: Server, npm: Npm) -> None:
    shown = shop.fill()
    index = reverse("admin:app_list", args=["django_dbos"])
    change = "admin:django_dbos_workflow_change"
    paths = [index, *(reverse(change, args=[workflow_id]) for workflow_id in shown.values())]
    viewer.go(server.url + index)
    paths += viewer.run(
        """[...document.querySelectorAll("#content-main a[href]")]
          .map((link) => link.pathname).filter((path) => path.startsWith("/admin/django_dbos/"))"""
    )

    bad: dict[str, Any] = {}
    for path in dict.fromkeys(paths):
        for scheme in ("light", "dark"):
            viewer.prefer(prefers_color_scheme=scheme)
            viewer.go(server.url + path)
            if found := faults(viewer, npm):
                bad[f"{path}, {scheme}"] = found

    assert bad == {}
