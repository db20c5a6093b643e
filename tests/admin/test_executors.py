"""The list of executors, and their pages: states, runs, and the drain."""

from __future__ import annotations

import platform
from datetime import timedelta
from typing import Any

import django
import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

import django_dbos
from django_dbos.admin import executors
from django_dbos.models import Executor, Workflow
from django_dbos.operations.registration import executor_info
from django_dbos.store import get_store
from tests.admin.conftest import Page, get, log_in, page_of
from tests.admin.workflows import SCRIPT, quick
from tests.store.conftest import age, declare_dead, register

pytestmark = pytest.mark.django_db

EXECUTORS = reverse("admin:django_dbos_executor_changelist")


def url_of(name: str, executor_id: str) -> str:
    return reverse(f"admin:django_dbos_executor_{name}", args=[quote(executor_id)])


def give(executor_id: str, count: int) -> list[str]:
    """Have an executor run workflows."""
    ids = [handle.workflow_id for handle in quick.start_many([()] * count)]
    running = {"status": "PENDING", "executor_id": executor_id, "claim_number": 1}
    QuerySet(Workflow).filter(pk__in=ids).update(**running)
    return ids


def listed(client: Client) -> dict[str, list[str]]:
    """Return the rows of the list, from the state on, by executor id."""
    rows = get(client, EXECUTORS).tables["result_list"][1:]
    # The first column has the host, the process id, which is 1, and the executor's id.
    return {row[-8].partition(":1")[2]: row[-7:] for row in rows}


@pytest.fixture
def manager(client: Client) -> Client:
    return log_in(client, "view_executor", "drain_executor")


def test_the_list_shows_states_and_runs(manager: Client) -> None:
    """Reading an executor that was declared dead raised an error on PostgreSQL."""
    store = get_store()
    alive = register(store, hostname="web-1", queue_names='["mail", "default"]', concurrency=32)
    inline = register(store, hostname="web-2", is_inline=True)
    silent, dead = register(store), register(store)
    age(silent, timedelta(minutes=5))
    declare_dead(store, dead)
    draining = register(store)
    store.drain_executors([draining])
    give(alive, 2)

    rows = listed(manager)

    assert rows[alive][:5] == ["alive", "worker", "-", "mail, default", "2 of 32"]
    assert rows[inline][:5] == ["alive", "runs inline", "-", "all", "0"]
    assert rows[silent][0] == "silent"
    assert rows[silent][-1] == "5 min ago"
    assert (rows[dead][0], rows[dead][-1]) == ("declared dead", "declared dead")
    assert rows[draining][0] == "draining"


def test_an_executor_tells_its_versions(manager: Client, settings: Any) -> None:
    def row_of(executor_id: str) -> Any:
        info = executor_info(executor_id, is_inline=False, concurrency=1)
        get_store().register_executor(get_store().session(), info, has_lock=False)
        return Executor.objects.get(pk=executor_id)

    plain = row_of("plain")
    settings.DBOS = {**settings.DBOS, "APP_VERSION": f"v2 {SCRIPT}"}
    released = row_of("released")

    others = {
        "django_dbos": django_dbos.__version__,
        "django": django.get_version(),
        "python": platform.python_version(),
    }
    assert plain.versions == others
    assert released.versions == {"app": f"v2 {SCRIPT}", **others}
    page = get(manager, EXECUTORS)
    assert page.text.count(f"django_dbos {django_dbos.__version__}") == 2
    assert f"v2 {SCRIPT}" in page.text
    facts = dict(get(manager, url_of("change", "released")).sections["facts"])
    assert facts["Version"] == f"v2 {SCRIPT}"
    assert facts["Runs on"] == (
        f"django_dbos {django_dbos.__version__}, Django {django.get_version()}, "
        f"Python {platform.python_version()}"
    )


def test_the_list_costs_the_same_however_many_executors_there_are(manager: Client) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            get(manager, EXECUTORS)
        return len(queries)

    give(register(get_store()), 1)
    few = count()
    for _ in range(20):
        give(register(get_store()), 1)

    assert count() == few


def test_the_page_shows_what_it_runs(manager: Client) -> None:
    names = '["shop.checkout", "shop.refund"]'
    executor_id = register(get_store(), hostname=SCRIPT, workflow_names=names, concurrency=4)
    ids = give(executor_id, 3)
    give(register(get_store()), 1)

    page = get(manager, url_of("change", executor_id))

    assert {row[0] for row in page.body("runs")} == {*ids}
    assert {page_of(workflow_id) for workflow_id in ids} <= {*page.links}
    facts = dict(page.sections["facts"])  # type: ignore[arg-type]
    assert facts["Running"] == "3 of 4"
    assert facts["Workflow functions"] == "shop.checkout\nshop.refund"
    assert SCRIPT in page.text
    assert SCRIPT not in page.html


def test_more_runs_than_a_page_has_are_on_further_pages(
    manager: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "PAGE_RUNS", 2)
    executor_id = register(get_store(), concurrency=8)
    ids = sorted(give(executor_id, 5))
    pages = [get(manager, url_of("change", executor_id))]
    facts = dict(pages[0].sections["facts"])
    while more := [link for link in pages[-1].links if "after=" in link]:
        pages.append(get(manager, more[0]))

    listed = [row[0] for page in pages for row in page.body("runs")]
    assert listed == ids
    assert [len(page.body("runs")) for page in pages] == [2, 2, 1]
    assert facts["Running"] == "5 of 8"
    nul = {"after": "\0"}
    assert manager.get(url_of("change", executor_id), nul).status_code == 404


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda store, executor_id: age(executor_id, timedelta(hours=1)), "another worker will"),
        (declare_dead, "went back"),
        (lambda store, executor_id: store.drain_executors([executor_id]), "claims nothing more"),
    ],
)
def test_the_page_of_one_that_is_not_well_says_so(manager: Client, change: Any, said: str) -> None:
    executor_id = register(get_store())
    change(get_store(), executor_id)

    page = get(manager, url_of("change", executor_id))

    assert said in page.note
    assert url_of("drain", executor_id) not in page.links


def test_one_that_has_gone_has_no_page(manager: Client) -> None:
    for name in ("change", "drain"):
        assert manager.get(url_of(name, "gone")).status_code == 404
        assert manager.get(url_of(name, "a\0b")).status_code == 404


# The drain


def requested(executor_id: str) -> bool:
    return Executor.objects.judged().get(pk=executor_id).drain_requested_at is not None


def test_the_button_asks_before_it_drains(manager: Client) -> None:
    executor_id = register(get_store(), hostname="web-1")
    url = url_of("drain", executor_id)
    assert url in get(manager, url_of("change", executor_id)).links

    asked = get(manager, url)

    assert "1 executor will drain." in asked.text
    assert "This can't be taken back" in asked.text
    assert not requested(executor_id)
    said = manager.post(url, asked.hidden, follow=True).content.decode()
    assert requested(executor_id)
    assert "1 executor drains." in said
    assert LogEntry.objects.get().change_message == "Drained."
    assert LogEntry.objects.get().object_id == executor_id


def test_the_list_drains_those_that_can(manager: Client) -> None:
    store = get_store()
    ids = [register(store), register(store), register(store, is_inline=True)]
    data = {"action": "drain_selected", "_selected_action": ids}

    asked = Page(manager.post(EXECUTORS, data).content.decode())
    said = manager.post(EXECUTORS, asked.hidden, follow=True).content.decode()

    assert "2 executors will drain. 1 isn't a live worker, or drains already." in asked.text
    assert [requested(executor_id) for executor_id in ids] == [True, True, False]
    assert "2 executors drain, 1 stays." in said
    assert LogEntry.objects.count() == 2


def test_draining_needs_its_permission(client: Client) -> None:
    executor_id = register(get_store())
    url = url_of("drain", executor_id)
    viewer = log_in(client, "view_executor")

    page = get(viewer, url_of("change", executor_id))

    assert url not in page.links
    assert viewer.get(url).status_code == viewer.post(url, {"post": "yes"}).status_code == 403
    assert "drain_selected" not in get(viewer, EXECUTORS).html
    assert not requested(executor_id)


def test_without_the_permission_to_view_there_is_nothing(client: Client) -> None:
    executor_id = register(get_store())
    log_in(client, "drain_executor")

    assert client.get(url_of("change", executor_id)).status_code == 403
    assert client.post(url_of("drain", executor_id), {"post": "yes"}).status_code == 403
    assert not requested(executor_id)
