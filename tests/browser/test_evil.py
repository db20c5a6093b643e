"""Texts of others on every page of the admin and the shop: shown, never executed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.urls import reverse

import django_dbos as dbos
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle
from example_project.shop.models import Product
from example_project.shop.workflows import checkout
from tests.browser.chromium import Chromium
from tests.browser.servers import Server

pytestmark = pytest.mark.django_db(transaction=True)

EVIL = "</script></textarea>\"'><img src=x onerror=window.isHacked=true><svg onload=isHacked=1>"
MAX_PAGES = 60


@dbos.step(name=f"{EVIL} step")
def says(value: Any) -> Any:
    dbos.logger.info("%s", EVIL)
    return value


@dbos.step(name=f"{EVIL} failing", max_attempts=2, interval=0)
def fails() -> None:
    raise LookupError(EVIL, {EVIL: EVIL})


@dbos.workflow(name=f"{EVIL} child")
def child(value: Any) -> Any:
    dbos.recv(EVIL, timeout=None)
    return value


@dbos.workflow(name=f"{EVIL} workflow")
def evil(value: Any) -> Any:
    dbos.set_event(EVIL, {EVIL: EVIL})
    dbos.write_stream(EVIL, EVIL)
    says({EVIL: [EVIL]})
    child.using(queue_name=EVIL[:60]).start(EVIL)
    dbos.recv(EVIL, timeout=60)
    fails()


@pytest.fixture
def workflow_id() -> str:
    """A workflow whose every text is evil, which has failed; and one that waits."""
    handle = evil.using(
        workflow_id=EVIL, attributes={EVIL: EVIL}, deduplication_id=EVIL, user=EVIL
    ).start(EVIL)
    dbos.send(EVIL, {EVIL: EVIL}, EVIL)
    dbos.send(EVIL, {EVIL: EVIL}, EVIL)
    run_until_idle()
    assert Workflow.objects.get(pk=EVIL).status == "ERROR"
    return handle.workflow_id


def test_the_admin_executes_nothing(viewer: Chromium, server: Server, workflow_id: str) -> None:
    page = reverse("admin:django_dbos_workflow_change", args=[_quoted(workflow_id)])
    waiting, seen = [page, reverse("admin:app_list", args=["django_dbos"])], set()
    while waiting and len(seen) < MAX_PAGES:
        path = waiting.pop(0)
        seen.add(path)
        viewer.go(server.url + path)
        assert viewer.run("window.isHacked === undefined"), path
        assert viewer.complaints() == [], path
        waiting += [link for link in links(viewer) if link not in seen and link not in waiting]

    assert len(seen) > 10
    viewer.go(server.url + page)
    assert viewer.text.count(EVIL) > 8


def _quoted(text: str) -> str:
    from django.contrib.admin.utils import quote

    return str(quote(text))


def links(page: Chromium) -> list[str]:
    """The paths of the admin's pages of workflows that the page leads to."""
    found: list[str] = page.run(
        """[...document.querySelectorAll("a[href]")]
          .filter((link) => link.origin === location.origin && !link.download)
          .filter((link) => link.pathname.startsWith("/admin/django_dbos/"))
          .filter((link) => !/download|format=/.test(link.search))
          .map((link) => link.pathname + link.search)"""
    )
    return list(dict.fromkeys(found))


def test_the_shop_executes_nothing(browser: Chromium, server: Server) -> None:
    Product.objects.create(sku=EVIL[:40], name=EVIL, price=Decimal(1), stock=1)
    order = checkout.start(EVIL[:40], 1, f"{server.url}/{EVIL}")
    run_until_idle()

    for path in ("", f"?q={EVIL}", f"orders/{order.workflow_id}/", f"orders/{EVIL}/"):
        browser.go(f"{server.url}/{path}")
        assert browser.run("window.isHacked === undefined"), path
        complaints = [text for text in browser.complaints() if "404 (Not Found)" not in text]
        assert complaints == [], path
