"""The overview, the executors and the actions in a browser: their looks, and what they do."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

import django_dbos as dbos
from django_dbos import queues
from django_dbos.models import Executor, Workflow
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.admin.conftest import LIST, page_of, url_of
from tests.admin.workflows import busy, failing, quick
from tests.browser import pictures
from tests.browser.accessibility import faults
from tests.browser.chromium import Chromium
from tests.browser.npm import Npm
from tests.store.conftest import age, register

pytestmark = pytest.mark.django_db(transaction=True)

OVERVIEW = reverse("admin:django_dbos_workflow_overview")
EXECUTORS = reverse("admin:django_dbos_executor_changelist")
LONG = "imports-of-a-supplier-with-a-rather-long-name"


@pytest.fixture
def somewhere() -> str:
    """Fill an hour with workflows; return the id of a worker that runs some."""
    store = get_store()
    store.declare_queues({"default": {}, "mail": {}, LONG: {}}, ())
    queues.pause("mail", by="ada")
    handles = [*quick.start_many([()] * 48), *failing.start_many([()] * 5)]
    run_until_idle()
    now = timezone.now()
    for number, handle in enumerate(handles):
        begun = now - timedelta(minutes=number % 48, seconds=30)
        QuerySet(Workflow).filter(pk=handle.workflow_id).update(
            created_at=begun - timedelta(seconds=number % 7),
            started_at=begun,
            finished_at=begun + timedelta(seconds=number % 11 * 2),
        )
    quick.using(queue_name="mail").start_many([()] * 12)
    quick.using(queue_name=LONG).start_many([()] * 3)
    busy.start_many([()] * 2)
    run_until_idle(["default"])
    names = json.dumps([busy.name, failing.name, quick.name])
    new, old = (
        json.dumps({"app": app, "django_dbos": "0.1.0", "django": "6.1", "python": "3.14.0"})
        for app in ("2026.11.2", "2026.11.1")
    )
    info: dict[str, Any] = {"lease": 3_600.0, "workflow_names": names}
    worker = register(store, hostname="web-1", concurrency=32, versions=new, **info)
    for hostname in ("web-2", "a-host-with-a-rather-long-name.example.com"):
        register(store, hostname=hostname, concurrency=16, versions=old, **info)
    silent = register(store, hostname="web-4")
    age(silent, timedelta(minutes=5))
    running = quick.start_many([()] * 4)
    QuerySet(Workflow).filter(pk__in=[handle.workflow_id for handle in running]).update(
        status="PENDING", executor_id=worker, started_at=now
    )
    return worker


@pytest.mark.usefixtures("somewhere")
def test_pictures_of_the_overview(operator: Chromium, live_server: Any, npm: Npm) -> None:
    pictures.take(operator, live_server.url + OVERVIEW, "overview")
    assert faults(operator, npm) == []

    operator.resize(1280, 900)
    operator.prefer(prefers_color_scheme="light")
    operator.go(live_server.url + OVERVIEW)
    assert operator.run("document.querySelectorAll('.dbos-chart svg').length") == 3
    assert faults(operator, npm) == []
    assert [text for text in operator.complaints() if "favicon" not in text] == []


def test_pictures_of_executors(
    operator: Chromium, live_server: Any, npm: Npm, somewhere: str
) -> None:
    page = reverse("admin:django_dbos_executor_change", args=[somewhere])

    pictures.take(operator, live_server.url + EXECUTORS, "executors")
    pictures.take(operator, live_server.url + page, "executor")

    assert faults(operator, npm) == []


def test_a_worker_is_drained(operator: Chromium, live_server: Any, somewhere: str) -> None:
    page = reverse("admin:django_dbos_executor_change", args=[somewhere])
    operator.go(live_server.url + page)

    operator.click(".dbos-tools a.button")
    assert "This can't be taken back" in operator.text
    operator.click("#content-main button[type=submit]")

    assert "1 executor drains." in operator.text
    assert Executor.objects.judged().get(pk=somewhere).drain_requested_at is not None


def test_the_overview_follows_without_a_reload(operator: Chromium, live_server: Any) -> None:
    operator.go(live_server.url + OVERVIEW)
    first = "document.querySelector('.dbos-tile-number').textContent"
    operator.run("window.isTheSame = true")
    assert operator.run(first) == "0"

    quick.using(queue_name="later").start_many([()] * 3)
    # Its own pace is slower than a test's.
    operator.run("Object.defineProperty(document, 'hidden', { get: () => false })")
    operator.wait(lambda: operator.run(first) == "3")

    assert operator.run("window.isTheSame")


def test_a_message_is_sent_by_hand(operator: Chromium, live_server: Any, npm: Npm) -> None:
    handle = busy.start()
    run_until_idle()
    pictures.take(operator, live_server.url + url_of("send_message", handle.workflow_id), "send")
    assert faults(operator, npm) == []
    assert operator.run("document.querySelector('#id_topic').value") == "paid"

    operator.run("document.querySelector('#id_message').value = '{\"amount\": 5}'")
    operator.click("#content-main button[type=submit]")
    run_until_idle()

    assert "1 message sent." in operator.text
    assert handle.get_result(timeout=0) == {"amount": 5}


def test_an_action_on_all_shows_its_progress(
    operator: Chromium, live_server: Any, npm: Npm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_dbos.admin.actions.BATCH", 4)
    monkeypatch.setattr("django_dbos.admin.bulk.PAGE", 20)
    busy.start_many([()] * 60)
    operator.resize(1280, 900)
    operator.go(live_server.url + reverse(LIST))
    operator.run("document.querySelector('#action-toggle').click()")
    operator.run("document.querySelector('.actions .question a').click()")
    operator.run("document.querySelector('select[name=action]').value = 'cancel_selected'")
    operator.click("button[name=index]")
    assert "60 active workflows will be cancelled." in operator.text

    operator.click("#content-main button[type=submit]")
    assert "The workflows that match are counted first." in operator.text
    operator.run("window.isTheSame = true")
    run_until_idle()

    operator.wait_for_text("60 of 60 workflows")
    assert "60 cancelled." in operator.text
    assert operator.run("window.isTheSame")
    assert faults(operator, npm) == []
    done = Workflow.objects.get(name="django_dbos.act_on_all")
    pictures.take(operator, live_server.url + url_of("progress", str(done.pk)), "progress")
    operator.go(live_server.url + page_of(str(done.pk)))
    assert "progress" in operator.text


def test_a_schedule_is_backfilled(operator: Chromium, live_server: Any, npm: Npm) -> None:
    dbos.schedules.create("hourly", quick, every=timedelta(hours=1))
    page = live_server.url + reverse("admin:django_dbos_schedule_change", args=["hourly"])
    operator.go(page)
    assert faults(operator, npm) == []
    operator.click("a[href$='/backfill/']")
    pictures.take(operator, operator.run("location.href"), "backfill")
    assert faults(operator, npm) == []
    operator.resize(1280, 900)

    # The fields hold the last day already.
    operator.click(".dbos-tools button")
    assert "24 workflows will be started." in operator.text
    assert faults(operator, npm) == []
    operator.click(".dbos-tools button")

    assert "24 workflows were started." in operator.text
    assert Workflow.objects.filter(schedule_name="hourly").count() == 24
    assert [text for text in operator.complaints() if "favicon" not in text] == []
