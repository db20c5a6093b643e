"""The admin as operators see it: what fits their screens, and what asks before it is done."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

import django_dbos as dbos
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle
from tests.admin.conftest import LIST, page_of
from tests.admin.workflows import busy, failing, parent, quick
from tests.browser.chromium import Chromium

pytestmark = pytest.mark.django_db(transaction=True)

LONG = "supplier." * 12


@dbos.workflow(name=f"{LONG}imports")
def imports() -> None:
    raise ConnectionError(LONG * 5)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_list_fits_the_screen(operator: Chromium, live_server: Any, width: int) -> None:
    for workflow in (busy, failing, quick, imports):
        workflow.start()
    quick.using(workflow_id="order-2026-0001 " * 8, queue_name="a-queue-of-its-own").start()
    run_until_idle(["default"])
    operator.resize(width, 900)

    operator.go(live_server.url + reverse(LIST))

    assert operator.run("document.documentElement.scrollWidth <= window.innerWidth")
    if width == 1280:
        table = "document.querySelector('#result_list')"
        assert operator.run(f"{table}.scrollWidth <= {table}.parentElement.clientWidth")
    assert "LookupError" in operator.text


def test_the_list_asks_before_it_cancels(operator: Chromium, live_server: Any) -> None:
    busy.start_many([()] * 3)
    operator.go(live_server.url + reverse(LIST))
    operator.run("document.querySelectorAll('.action-select').forEach(box => box.click())")
    operator.run("document.querySelector('select[name=action]').value = 'cancel_selected'")

    operator.click("button[name=index]")

    assert "3 active workflows will be cancelled." in operator.text
    assert set(Workflow.objects.values_list("status", flat=True)) == {"ENQUEUED"}

    operator.click("#content-main button[type=submit]")

    assert "3 cancelled." in operator.text
    assert set(Workflow.objects.values_list("status", flat=True)) == {"CANCELLED"}


def test_the_page_asks_before_it_cancels(operator: Chromium, live_server: Any) -> None:
    handle = busy.start()
    operator.go(live_server.url + page_of(handle.workflow_id))

    operator.click(".dbos-tools a.button")

    assert "1 active workflow will be cancelled." in operator.text
    assert handle.get_status() == "ENQUEUED"

    operator.click("#content-main button[type=submit]")

    assert "1 cancelled." in operator.text
    assert handle.get_status() == "CANCELLED"


def test_the_page_of_a_workflow_fits_the_screen(operator: Chromium, live_server: Any) -> None:
    handle = parent.start()
    run_until_idle()

    for workflow_id in (handle.workflow_id, f"{handle.workflow_id}-1"):
        operator.go(live_server.url + page_of(workflow_id))

        assert operator.run(
            "[...document.querySelectorAll('.dbos-rows')]"
            ".every(section => section.scrollWidth <= section.clientWidth)"
        )
