"""The list of queues and their pages: counts, limits, edits, pauses, permissions and the log."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

import django_dbos as dbos
from django_dbos import queues
from django_dbos.models import Queue
from django_dbos.store import get_store
from tests.admin.conftest import get, log_in, page_of
from tests.admin.workflows import quick
from tests.store.conftest import register

pytestmark = pytest.mark.django_db

LIST = "admin:django_dbos_queue_changelist"


@pytest.fixture
def manager(client: Client) -> Client:
    """Log in a user who may do everything with queues."""
    return log_in(client, "view_workflow", "view_queue", "change_queue", "pause_queue")


@pytest.fixture
def mail() -> str:
    get_store().declare_queues({"mail": {"concurrency": 10, "rate_limit": "100/m"}}, {"default"})
    return "mail"


def page(name: str) -> str:
    return reverse("admin:django_dbos_queue_change", args=[quote(name)])


def url_of(action: str, name: str) -> str:
    return reverse("admin:django_dbos_queue_action", args=[quote(name), action])


def row(client: Client, name: str) -> list[str]:
    rows = get(client, reverse(LIST)).tables["result_list"]
    (found,) = [cells for cells in rows if name in cells[:2]]
    return found[found.index(name) :]


def buttons(client: Client, name: str) -> list[str]:
    known = ("Pause", "Resume", "Reset to what is declared", "Save")
    return [text for text in get(client, page(name)).buttons if text in known]


def filled(**changes: Any) -> dict[str, Any]:
    return {"concurrency": "10", "rate_limit": "100/m", **changes}


def test_the_list_shows_depth_limits_and_pauses(manager: Client, mail: str) -> None:
    for _ in range(3):
        quick.using(queue_name=mail).start()
    queues.set(mail, concurrency=5)
    queues.pause(mail, by="ada")

    _, state, queued, running, places, oldest, limits = row(manager, mail)

    assert state.startswith("paused")
    assert state.endswith(" by ada")
    assert (queued, running, places) == ("3", "0", "0 of 5")
    assert oldest == "0 s"
    assert limits == (
        "concurrency 5, rate_limit 100/medited; declared: concurrency 10, rate_limit 100/m"
    )
    assert row(manager, "default")[1:] == ["open", "0", "0", "-", "-", "none"]


def test_the_list_costs_the_same_however_many_queues_there_are(manager: Client) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            get(manager, reverse(LIST))
        return len(queries)

    get_store().declare_queues({"a": {}}, ())
    few = count()
    get_store().declare_queues({f"q{number}": {} for number in range(20)}, ())

    assert count() == few


def test_an_edit_changes_only_what_was_changed(manager: Client, mail: str) -> None:
    response = manager.post(page(mail), filled(concurrency="5"), follow=True)

    assert response.status_code == 200
    queue = Queue.objects.get(pk=mail)
    assert queue.edited == {"concurrency": 5}
    assert (queue.concurrency, queue.rate_count) == (5, 100)
    assert LogEntry.objects.get().change_message == "Set concurrency 5."
    shown = get(manager, page(mail)).body("options")
    assert [cells[2:] for cells in shown[:3]] == [["10", "5"], ["", ""], ["100/m", ""]]


def test_an_emptied_field_removes_a_declared_limit(manager: Client, mail: str) -> None:
    manager.post(page(mail), filled(rate_limit=""))

    assert Queue.objects.get(pk=mail).edited == {"rate_limit": None}
    assert get(manager, page(mail)).body("options")[2][2:] == ["100/m", "none"]


def test_a_field_that_is_set_to_what_is_declared_is_not_edited_any_more(
    manager: Client, mail: str
) -> None:
    queues.set(mail, concurrency=5, worker_concurrency=2)

    manager.post(page(mail), filled(worker_concurrency="2"))

    assert Queue.objects.get(pk=mail).edited == {"worker_concurrency": 2}
    assert Queue.objects.get(pk=mail).concurrency == 10
    manager.post(page(mail), filled())
    assert Queue.objects.get(pk=mail).edited is None
    queues.set(mail, concurrency=10)
    assert Queue.objects.get(pk=mail).edited == {"concurrency": 10}


def test_a_form_that_was_not_changed_edits_nothing(manager: Client, mail: str) -> None:
    manager.post(page(mail), filled())

    assert Queue.objects.get(pk=mail).edited is None
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"concurrency": "0"}, "Concurrency must be at least 1, but is 0."),
        ({"concurrency": "x"}, "Enter a whole number."),
        ({"rate_limit": "soon"}, "Rate limit must be like"),
        ({"worker_concurrency": "11"}, "worker_concurrency is 11, above concurrency, which is 10"),
    ],
)
def test_an_impossible_edit_is_refused(
    manager: Client, mail: str, changes: dict[str, str], said: str
) -> None:
    response = manager.post(page(mail), filled(**changes))

    assert said in response.content.decode()
    assert Queue.objects.get(pk=mail).edited is None
    assert not LogEntry.objects.exists()


def test_the_buttons_pause_resume_and_reset(manager: Client, mail: str) -> None:
    assert buttons(manager, mail) == ["Pause", "Save"]
    manager.post(url_of("pause", mail))
    assert Queue.objects.get(pk=mail).paused_by == "staff"
    assert buttons(manager, mail) == ["Resume", "Save"]
    manager.post(url_of("resume", mail))
    assert Queue.objects.get(pk=mail).paused_at is None
    queues.set(mail, concurrency=5)
    assert buttons(manager, mail) == ["Pause", "Reset to what is declared", "Save"]
    manager.post(url_of("reset", mail))
    assert Queue.objects.get(pk=mail).edited is None

    log = LogEntry.objects.order_by("pk").values_list("object_id", "change_message")
    assert list(log) == [
        (mail, "Paused."),
        (mail, "Resumed."),
        (mail, "Reset to what is declared."),
    ]


def test_the_list_pauses_many(manager: Client, mail: str) -> None:
    queues.pause("default")
    data = {"action": "pause_selected", "_selected_action": [mail, "default"]}

    said = manager.post(reverse(LIST), data, follow=True).content.decode()

    assert "1 queue was changed." in said
    assert {queue.paused_by for queue in Queue.objects.all()} == {"staff", None}
    assert LogEntry.objects.get().object_id == mail


@pytest.mark.parametrize(
    ("permissions", "may"),
    [
        ((), set()),
        (("view_queue",), {"view"}),
        (("view_queue", "pause_queue"), {"view", "pause"}),
        (("view_queue", "change_queue"), {"view", "edit", "reset"}),
    ],
)
def test_each_act_has_its_permission(
    client: Client, mail: str, permissions: tuple[str, ...], may: set[str]
) -> None:
    queues.set(mail, concurrency=7)
    log_in(client, *permissions)

    answers = {
        "view": client.get(page(mail)).status_code,
        "edit": client.post(page(mail), filled(concurrency="6")).status_code,
        "pause": client.post(url_of("pause", mail)).status_code,
        "reset": client.post(url_of("reset", mail)).status_code,
    }

    assert {act for act, status in answers.items() if status in (200, 302)} == may
    assert {status for act, status in answers.items() if act not in may} <= {403}


def test_without_the_permission_the_page_has_no_form(client: Client, mail: str) -> None:
    log_in(client, "view_queue")

    assert buttons(client, mail) == []
    assert 'name="concurrency"' not in get(client, page(mail)).html


def test_an_unknown_queue_has_no_page(manager: Client) -> None:
    assert manager.get(page("nowhere")).status_code in (302, 404)
    assert manager.post(url_of("explode", "nowhere")).status_code == 404


def test_a_queue_with_a_strange_name_has_its_page(manager: Client) -> None:
    name = "a/b <i>ü_5F"
    queues.set(name, concurrency=1)

    assert name in get(manager, page(name)).text
    manager.post(url_of("pause", name))
    assert Queue.objects.get(pk=name).paused_at is not None


def test_the_notes_of_workflows_name_what_their_queue_lacks(manager: Client, mail: str) -> None:
    register(get_store())
    queues.pause(mail, by="ada")
    for number in range(2):
        quick.using(queue_name=mail, workflow_id=f"w{number}").start()

    note = get(manager, page_of("w1")).note
    rows = get(manager, reverse("admin:django_dbos_workflow_changelist")).tables["result_list"]

    assert note.startswith("Queue 'mail' is paused since ")
    assert note.endswith(" by ada. Behind 1 of its queue.")
    assert any(f"queued{note}" in cells for cells in rows)


def test_the_reasons_cost_the_same_however_many_workflows_wait(manager: Client, mail: str) -> None:
    register(get_store())

    def start(count: int) -> None:
        for name in (mail, "default"):
            quick.using(queue_name=name).start_many([()] * count)

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            get(manager, reverse("admin:django_dbos_workflow_changelist"))
        return len(queries)

    start(1)
    few = count()
    start(10)

    assert count() == few


def test_the_api_shows_what_the_admin_changed(manager: Client, mail: str) -> None:
    manager.post(page(mail), filled(concurrency="5"))

    assert dbos.queues.get(mail).options == {"concurrency": 5, "rate_limit": "100/m"}


def test_the_page_of_a_workflow_links_to_its_queue(manager: Client, mail: str) -> None:
    quick.using(queue_name=mail, workflow_id="known").start()
    quick.using(queue_name="elsewhere", workflow_id="unknown").start()

    assert page(mail) in get(manager, page_of("known")).links
    assert page("elsewhere") not in get(manager, page_of("unknown")).links
