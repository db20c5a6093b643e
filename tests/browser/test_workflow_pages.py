"""The list and the page of workflows in a browser: how they look, and that they follow."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings
from django.urls import reverse

import django_dbos as dbos
from django_dbos.testing import run_until_idle
from tests.admin.conftest import LIST, page_of, url_of
from tests.admin.workflows import SCRIPT, busy, quick
from tests.browser import pictures, shop
from tests.browser.accessibility import faults
from tests.browser.chromium import Chromium
from tests.browser.npm import Npm
from tests.browser.workflows import Narrator

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_pages_look_well_and_have_no_serious_fault(
    operator: Chromium, live_server: Any, npm: Npm
) -> None:
    ids = shop.fill()
    urls = {f"workflow-{name}": page_of(workflow_id) for name, workflow_id in ids.items()}
    urls["workflows"] = reverse(LIST)
    urls["workflow-rows"] = url_of("rows", ids["waiting"], "steps")
    found = {}

    for name, url in urls.items():
        pictures.take(operator, live_server.url + url, name)
        for scheme in ("light", "dark"):
            operator.prefer(prefers_color_scheme=scheme)
            operator.run("document.querySelectorAll('details').forEach(d => d.open = true)")
            found[f"{name}, {scheme}"] = faults(operator, npm)

    assert not any(found.values()), found
    assert complaints(operator) == []


def complaints(browser: Chromium) -> list[str]:
    return [text for text in browser.complaints() if "favicon" not in text]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages look ten times a second."""
    monkeypatch.setattr("django_dbos.admin.page.PERIOD", 0.1)
    monkeypatch.setattr("django_dbos.admin.workflow_list.PERIOD", 0.1)


def test_a_page_follows_its_workflow_to_the_end(operator: Chromium, live_server: Any) -> None:
    handle = busy.start()
    operator.go(live_server.url + page_of(handle.workflow_id))
    assert "queued" in operator.text
    operator.run("document.querySelector('#more-facts').open = true")

    run_until_idle()

    operator.wait_for_text("Waiting for a message on topic 'paid'.")
    operator.wait_for_text("dbos.recv(paid)")
    operator.run("document.querySelector('#step-1').open = true")
    dbos.send(handle.workflow_id, "x", "paid")
    run_until_idle()
    operator.wait_for_text("succeeded")
    operator.wait(lambda: operator.run("document.querySelector('.dbos-live').hidden"))
    # What the reader has opened stays open.
    assert operator.run("document.querySelector('#step-1').open")
    assert operator.run("document.querySelector('#more-facts').open")
    assert complaints(operator) == []


def test_a_page_is_paused_and_goes_on(operator: Chromium, live_server: Any) -> None:
    handle = busy.start()
    operator.go(live_server.url + page_of(handle.workflow_id))
    operator.run("document.querySelector('.dbos-live-button').click()")
    operator.wait_for_text("Updates are paused")
    asked = "performance.getEntriesByType('resource').filter(e => e.initiatorType == 'fetch')"
    before = operator.run(f"{asked}.length")

    run_until_idle()
    operator.run("new Promise(resolve => setTimeout(resolve, 1000))")
    assert operator.run(f"{asked}.length") - before <= 1
    operator.run("document.querySelector('.dbos-live-button').click()")

    operator.wait_for_text("Waiting for a message on topic 'paid'.")


def test_what_somebody_uses_stays_until_it_is_left(operator: Chromium, live_server: Any) -> None:
    handle = busy.start()
    operator.go(live_server.url + page_of(handle.workflow_id))
    operator.run(
        "document.getSelection().selectAllChildren(document.querySelector('#note .dbos-note'))"
    )
    run_until_idle()
    operator.wait_for_text("dbos.recv(paid)")

    assert operator.run("document.getSelection().toString()").startswith("No live worker serves")
    operator.run("document.getSelection().removeAllRanges()")
    operator.wait_for_text("Waiting for a message on topic 'paid'.")


def test_the_list_follows_in_place(operator: Chromium, live_server: Any) -> None:
    handle = busy.using(workflow_id="first").start()
    operator.go(live_server.url + reverse(LIST))
    operator.run("document.querySelector('.action-select').click()")

    run_until_idle()
    quick.using(workflow_id="another-one").start()

    operator.wait_for_text("Waiting for a message on topic 'paid'.")
    operator.wait_for_text("New workflows: show them")
    # Rows stay where they are, and selected.
    assert "another-one" not in operator.text
    assert operator.run("document.querySelector('.action-select').checked")
    operator.click(".dbos-live-more")
    assert "another-one" in operator.text
    assert handle.workflow_id in operator.text
    assert complaints(operator) == []


TAIL = "[...document.querySelectorAll('#streams li pre')].map(item => item.textContent.trim())"


def test_the_tail_of_a_stream_follows_as_it_is_written(
    operator: Chromium, live_server: Any
) -> None:
    narrator = Narrator()
    run_until_idle()
    page = live_server.url + page_of(narrator.workflow_id)
    operator.go(page)
    operator.run("window.isTheSamePage = true")
    assert not operator.run("document.querySelector('#streams')")

    narrator.write("log", "one")
    run_until_idle()
    operator.wait(lambda: operator.run(TAIL) == ['"one"'])
    narrator.write("log", *range(12))
    run_until_idle()
    operator.wait(lambda: operator.run(TAIL) == [str(number) for number in range(2, 12)])
    assert "13 values" in operator.text
    narrator.end()
    run_until_idle()
    operator.wait_for_text("succeeded")

    operator.wait(
        lambda: "closed" in operator.run("document.querySelector('#streams h3').innerText")
    )
    assert operator.run("window.isTheSamePage")
    assert complaints(operator) == []
    operator.set_scripts(are_run=False)
    operator.go(page)
    assert operator.run(TAIL) == [str(number) for number in range(2, 12)]
    assert "13 values" in operator.text


def test_a_page_is_complete_without_scripts(operator: Chromium, live_server: Any) -> None:
    handle = busy.start()
    run_until_idle()
    operator.set_scripts(are_run=False)

    operator.go(live_server.url + page_of(handle.workflow_id))

    assert "dbos.recv(paid)" in operator.text
    assert "Live" not in operator.text


POLICY = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:"


class Strict:
    """Sends a strict policy with each page."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        response = self.get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response


def test_scripts_in_values_are_text_under_a_strict_policy(
    operator: Chromium, live_server: Any, settings: Any
) -> None:
    name = f"{__name__}.Strict"
    with override_settings(MIDDLEWARE=[name, *settings.MIDDLEWARE]):
        handle = busy.using(
            workflow_id=f"x{SCRIPT}", queue_name="default", user=SCRIPT, attributes={SCRIPT: 1}
        ).start()
        dbos.send(handle.workflow_id, SCRIPT, SCRIPT)
        run_until_idle()

        for url in (reverse(LIST), page_of(handle.workflow_id)):
            operator.go(live_server.url + url)
            assert SCRIPT in operator.text
            assert complaints(operator) == []
