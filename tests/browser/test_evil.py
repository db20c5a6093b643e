"""Texts of others on every page of the admin and the shop: shown, never executed."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.urls import reverse

import django_dbos as dbos
from django_dbos.models import Event, Executor, Inquiry, Message, Queue, Schedule, Workflow
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from example_project.shop.forms import RefundForm
from example_project.shop.models import Product
from example_project.shop.workflows import checkout
from tests.browser.chromium import Chromium
from tests.browser.servers import Server
from tests.store.conftest import register

LIST = "admin:django_dbos_workflow_changelist"
MODELS = [model for model in admin.site._registry if model._meta.app_label == "django_dbos"]

pytestmark = pytest.mark.django_db(transaction=True)

EVIL = "</script></textarea>\"'><img src=x onerror=window.isHacked=true><svg onload=isHacked=1>"
# Names of queues and schedules are shorter.
NAME = EVIL[:60]
MAX_PAGES = 100


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


@dbos.workflow(name=f"{EVIL} endless")
def endless(value: Any, number: int = 1) -> Any:
    if number == 1:
        dbos.continue_as_new(value, 2)
    return value


@dbos.workflow(name=f"{EVIL} asking")
def asks() -> Any:
    dbos.callback_url(EVIL)
    initial = {"amount": 1, "reason": EVIL}
    return dbos.wait_for_form(
        RefundForm, title=EVIL, description=EVIL, initial=initial, users=[EVIL], groups=[EVIL]
    ).data["reason"]


@dbos.workflow(name=f"{EVIL} workflow")
def evil(value: Any) -> Any:
    dbos.set_event(EVIL, {EVIL: EVIL})
    dbos.write_stream(EVIL, EVIL)
    says({EVIL: [EVIL]})
    child.using(queue_name=NAME).start(EVIL)
    endless(EVIL)
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


@pytest.fixture
def rows(workflow_id: str, settings: Any) -> list[Any]:
    """A row of each model of the admin, whose every text is evil."""
    settings.DBOS = {**settings.DBOS, "BASE_URL": "https://shop.example"}
    store = get_store()
    dbos.schedules.create(NAME, child, every=3600, args=[EVIL])
    store.declare_queues({NAME: {"concurrency": 1}}, [])
    store.pause_queue(NAME, EVIL)
    register(
        store,
        hostname=EVIL,
        queue_names=json.dumps([NAME]),
        workflow_names=json.dumps([EVIL]),
        versions=json.dumps({"app": EVIL, "python": EVIL}),
    )
    asks.start()
    run_until_idle()
    user = User.objects.create_superuser(EVIL)
    asks.start()
    run_until_idle()
    answered, pending = Inquiry.objects.filter(kind="form").order_by("pk")
    dbos.answer_form(answered.pk, {"amount": 1, "reason": EVIL}, user=user)
    run_until_idle()
    found: list[Any] = [
        Workflow.objects.get(pk=workflow_id),
        Event.objects.filter(workflow_id=EVIL).first(),
        Message.objects.filter(workflow_id=EVIL).first(),
        Schedule.objects.get(),
        Queue.objects.get(name=NAME),
        Executor.objects.get(hostname=EVIL),
        answered,
        pending,
    ]
    LogEntry.objects.log_actions(user.pk, found, CHANGE, EVIL)
    return found


def test_the_admin_executes_nothing(viewer: Chromium, server: Server, rows: list[Any]) -> None:
    pages = [change_of(row) for row in rows]
    first = [
        reverse("admin:index"),
        reverse("admin:app_list", args=["django_dbos"]),
        f"{reverse(LIST)}?{urlencode({'q': f'{EVIL}={EVIL}'})}",
        f"{reverse(LIST)}?{urlencode({'q': EVIL})}",
        *pages,
        *(page.replace("/change/", "/history/") for page in pages),
        rows[-1].get_absolute_url(),
    ]
    waiting, seen, texts = list(first), list[str](), dict[str, str]()
    while waiting and len(seen) < MAX_PAGES:
        path = waiting.pop(0)
        seen.append(path)
        viewer.go(server.url + path)
        assert viewer.run("window.isHacked === undefined"), path
        assert viewer.complaints() == [], path
        texts[path] = viewer.text
        waiting += [link for link in links(viewer) if link not in (*seen, *waiting)]

    assert set(MODELS) == {type(row) for row in rows}
    # The indexes and a search without a match have no names.
    assert [path for path in first[3:] if NAME not in texts[path]] == []
    assert texts[pages[0]].count(EVIL) > 8


def change_of(row: Any) -> str:
    name = f"admin:django_dbos_{row._meta.model_name}_change"
    return reverse(name, args=[quote(str(row.pk))])


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
