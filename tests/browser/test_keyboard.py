"""The list and the page of workflows without a mouse: Tab reaches everything, Enter opens it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.urls import reverse

import django_dbos as dbos
from django_dbos.core import registry
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle
from tests.admin.conftest import LIST, page_of
from tests.admin.workflows import busy
from tests.browser.chromium import Chromium

pytestmark = pytest.mark.django_db(transaction=True)

Focus = dict[str, Any]
# What has the focus, where, and whether people see it, to the pixel. A date has several parts.
FOCUS = """(() => {
  const found = document.activeElement;
  const style = getComputedStyle(found);
  const box = found.getBoundingClientRect();
  return {
    name: found.localName,
    text: (found.innerText || found.value || "").trim().replace(/\\s+/g, " "),
    id: found.closest("[id]")?.id ?? "",
    href: found.getAttribute("href") ?? "",
    isInContent: found.closest("#content") !== null && found.type !== "date",
    isMarked: style.outlineStyle !== "none" || style.boxShadow !== "none",
    isInView: box.top > -1 && box.bottom < innerHeight + 1 && box.width > 0 && box.height > 0,
  };
})()"""
# What a mouse could use, of what is shown.
USABLE = """[...document.querySelectorAll(
  "#content :is(a[href], button, summary, select, input:not([type=hidden]))"
)].filter((found) => found.checkVisibility() && found.innerText !== "").map((found) =>
  (found.innerText || found.value).trim().replace(/\\s+/g, " "))"""


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages stay as they are, and offer a filter by one name.

    The other tests of this process have registered hundreds of functions, each a stop of Tab.
    """
    few = SimpleNamespace(workflows={busy.name: registry.workflows[busy.name]})
    monkeypatch.setattr("django_dbos.admin.filters.registry", few)
    monkeypatch.setattr("django_dbos.admin.page.PERIOD", 3_600)
    monkeypatch.setattr("django_dbos.admin.workflow_list.PERIOD", 3_600)


def tab_to(browser: Chromium, fits: Callable[[Focus], Any], key: str = "Tab") -> list[Focus]:
    """Press Tab until what has the focus fits; return all that had it, the last one included."""
    passed: list[Focus] = []
    for _ in range(300):
        browser.press(key)
        passed.append(browser.run(FOCUS))
        if fits(passed[-1]):
            return passed
    raise AssertionError(f"Tab doesn't reach it, but {[found['text'] for found in passed]}")


def press_enter(browser: Chromium) -> None:
    """Press Enter on what leads to another page."""
    browser.run("window.isLeft = true")
    browser.press("Enter")
    browser.wait_for_load()


def is_open(browser: Chromium, anchor: str) -> bool:
    return bool(browser.run(f"document.querySelector('#{anchor}').open"))


@pytest.mark.parametrize("page", ["list", "workflow"])
def test_tab_reaches_everything_and_shows_where_it_is(
    operator: Chromium, live_server: Any, page: str
) -> None:
    handle = busy.start()
    run_until_idle()
    url = reverse(LIST) if page == "list" else page_of(handle.workflow_id)
    operator.go(live_server.url + url)

    usable = operator.run(USABLE)
    passed = tab_to(operator, lambda found: found["name"] == "body")[:-1]

    reached = [found["text"] for found in passed]
    assert not [text for text in usable if text not in reached]
    unseen = [found for found in passed if found["isInContent"] and not found["isMarked"]]
    assert not unseen
    assert not [found for found in passed if found["isInContent"] and not found["isInView"]]


def test_a_step_is_opened_by_enter(operator: Chromium, live_server: Any) -> None:
    handle = busy.start()
    run_until_idle()
    operator.go(live_server.url + page_of(handle.workflow_id))

    tab_to(operator, lambda found: found["id"] == "step-7")
    operator.press("Enter")
    assert is_open(operator, "step-7")
    # The next stop is inside of it: of what has failed, all is told.
    (inside, *_) = tab_to(operator, lambda found: found["id"] != "step-7")
    assert inside["isInView"]
    tab_to(operator, lambda found: found["id"] == "step-7", key="Shift+Tab")
    tab_to(operator, lambda found: found["name"] == "summary", key="Shift+Tab")
    tab_to(operator, lambda found: found["id"] == "step-7")
    operator.press("Space")

    assert not is_open(operator, "step-7")


def test_what_has_the_focus_stays_and_is_current_once_it_is_left(
    operator: Chromium, live_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the workflow has ended meanwhile, and nothing else would change any more."""
    monkeypatch.setattr("django_dbos.admin.page.PERIOD", 0.1)
    handle = busy.start()
    run_until_idle()
    operator.go(live_server.url + page_of(handle.workflow_id))
    tab_to(operator, lambda found: found["id"] == "step-9")
    operator.press("Enter")

    dbos.send(handle.workflow_id, "x", "paid")
    run_until_idle()
    badge = "document.querySelector('#badge').innerText"
    operator.wait(lambda: operator.run(badge) == "succeeded")
    assert operator.run(FOCUS)["id"] == "step-9"
    timeline = "document.querySelector('#timeline').innerText"
    assert "dbos.recv(paid) waiting" in operator.run(timeline)
    tab_to(operator, lambda found: found["id"] not in ("step-9", "timeline"))

    operator.wait(lambda: "dbos.recv(paid) waiting" not in operator.run(timeline))
    operator.wait(lambda: operator.run("document.querySelector('.dbos-live').hidden"))
    assert is_open(operator, "step-9")


def test_the_filters_are_skipped_and_a_row_is_opened(operator: Chromium, live_server: Any) -> None:
    handle = busy.start()
    run_until_idle()
    operator.go(live_server.url + reverse(LIST))

    tab_to(operator, lambda found: found["text"] == "Skip to the list")
    assert operator.run(FOCUS)["isInView"]
    operator.press("Enter")
    passed = tab_to(operator, lambda found: handle.workflow_id in found["text"] and found["href"])
    assert len(passed) < 15
    press_enter(operator)

    assert "dbos.recv(paid)" in operator.text


def test_a_workflow_is_cancelled_without_a_mouse(operator: Chromium, live_server: Any) -> None:
    handle = busy.start()
    operator.go(live_server.url + page_of(handle.workflow_id))

    tab_to(operator, lambda found: found["text"] == "Cancel")
    press_enter(operator)
    assert Workflow.objects.get(pk=handle.workflow_id).status == "ENQUEUED"
    tab_to(operator, lambda found: found["name"] == "button" and found["isInContent"])
    press_enter(operator)

    assert Workflow.objects.get(pk=handle.workflow_id).status == "CANCELLED"
