"""The admin's pages of schedules: the list, the form, the actions, their permissions and log."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.admin.utils import quote
from django.test import Client
from django.urls import reverse

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Schedule, Workflow
from tests.admin.conftest import get, log_in
from tests.flow.conftest import amid_an_hour
from tests.flow.scheduled import declared, held, let_pass, report, row, start_due

__all__ = ["amid_an_hour"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("amid_an_hour")]
LIST = "admin:django_dbos_schedule_changelist"
ALL = ("view_schedule", "change_schedule", "pause_schedule", "trigger_schedule", "delete_schedule")
HOUR = timedelta(hours=1)


def url(name: str, *args: str, schedule: str = "nightly") -> str:
    return reverse(f"admin:django_dbos_schedule_{name}", args=[quote(schedule), *args])


def post(client: Client, action: str, schedule: str = "nightly") -> Any:
    return client.post(url("action", action, schedule=schedule))


def form_of(client: Client, **changes: Any) -> dict[str, Any]:
    """Return the fields of the page's form, with changes."""
    form = client.get(url("change")).context["form"]
    values = {name: form[name].value() for name in form.fields}
    return {name: "" if value is None else value for name, value in {**values, **changes}.items()}


@pytest.fixture
def nightly() -> None:
    dbos.schedules.create("nightly", report, "0 3 * * *", timezone="Europe/Berlin", args=[7])


def test_the_list_shows_times_and_links_to_what_was_started(client: Client, nightly: None) -> None:
    dbos.schedules.create("poll", report, every=HOUR)
    let_pass("poll", HOUR)
    start_due()
    dbos.schedules.create("paused", report, every=60)
    dbos.schedules.pause("paused", "migration", by="anna")

    page = get(log_in(client, "view_schedule", "view_workflow"), reverse(LIST))

    assert "every day at 03:00 (Europe/Berlin)" in page.text
    assert "by anna, migration" in page.text
    workflows = reverse("admin:django_dbos_workflow_changelist")
    assert f"{workflows}?schedule_name=poll" in page.links
    (started,) = Workflow.objects.filter(schedule_name="poll")
    assert reverse("admin:django_dbos_workflow_change", args=[quote(started.pk)]) in page.links


def test_the_list_of_workflows_is_filtered_by_schedule(client: Client) -> None:
    dbos.schedules.create("poll", report, every=HOUR)
    handle = dbos.schedules.trigger("poll")
    other = report.start()
    log_in(client, "view_workflow")

    workflows = reverse("admin:django_dbos_workflow_changelist")
    page = get(client, workflows, {"schedule_name": "poll"})

    assert handle.workflow_id in page.text
    assert other.workflow_id not in page.text
    facts = get(client, reverse("admin:django_dbos_workflow_change", args=[handle.workflow_id]))
    assert "poll" in facts.text


def test_the_page_shows_what_is_declared_beside_what_was_edited(client: Client) -> None:
    with declared("nightly", report, every=HOUR, priority=3), Executor():
        dbos.schedules.edit("nightly", priority=9)

    page = log_in(client, "view_schedule").get(url("change"))

    rows = {line["field"].name: line for line in page.context["rows"]}
    assert (rows["priority"]["declared"], rows["priority"]["edited"]) == ("3", "9")
    assert rows["every"]["declared"] == "3600.0"
    assert rows["every"]["edited"] == ""


def test_a_field_that_is_set_to_what_is_declared_is_not_edited_any_more(
    client: Client,
) -> None:
    with declared("nightly", report, cron="0 3 * * *", overlap="queue"), Executor():
        was = row("nightly").definition
    log_in(client, *ALL)
    dbos.schedules.edit("nightly", cron="0 5 * * *", overlap="skip")

    client.post(url("change"), form_of(client, cron=was.cron))

    assert row("nightly").edited == {"overlap": "skip"}
    assert row("nightly").definition.cron == was.cron
    client.post(url("change"), form_of(client, overlap=was.overlap))
    assert row("nightly").edited is None
    # By the API, an option is pinned in any case.
    dbos.schedules.edit("nightly", overlap=was.overlap)
    assert row("nightly").edited == {"overlap": was.overlap}


def test_a_form_that_changes_the_kind_of_times_back_edits_nothing(client: Client) -> None:
    with declared("nightly", report, every=HOUR), Executor():
        dbos.schedules.edit("nightly", every=None, cron="0 5 * * *")
    log_in(client, *ALL)

    client.post(url("change"), form_of(client, cron="", every="3600"))

    assert row("nightly").edited is None
    assert row("nightly").definition.every == 3600.0


def test_the_form_edits_only_what_was_changed(client: Client, nightly: None) -> None:
    log_in(client, *ALL)

    response = client.post(url("change"), form_of(client, cron="0 4 * * *", overlap="skip"))

    assert response.status_code == 302
    changed = row("nightly")
    assert (changed.definition.cron, changed.definition.overlap) == ("0 4 * * *", "skip")
    assert changed.definition.timezone == "Europe/Berlin"
    assert "overlap skip" in LogEntry.objects.get().change_message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cron": "0 25 * * *"}, "the hour field, &#x27;25&#x27;"),
        ({"timezone": "Europe/Berlim"}, "Did you mean &#x27;Europe/Berlin&#x27;"),
        ({"cron": ""}, "either cron or every"),
        ({"priority": "900"}, "from -100 to 100"),
        ({"every": "0.1"}, "at least 1 s"),
    ],
)
def test_the_form_says_what_is_wrong(
    client: Client, nightly: None, changes: dict[str, Any], message: str
) -> None:
    log_in(client, *ALL)
    before = row("nightly").edited

    response = client.post(url("change"), form_of(client, **changes))

    assert response.status_code == 200
    assert message in response.content.decode()
    assert row("nightly").edited == before
    assert not LogEntry.objects.exists()


def test_the_buttons_act_and_are_logged(client: Client, nightly: None) -> None:
    log_in(client, *ALL)

    assert 'name="reason"' in client.get(url("change")).content.decode()
    client.post(url("action", "pause"), {"reason": " full disk "})
    paused = row("nightly")
    assert (paused.is_paused, paused.paused_by) == (True, "staff")
    assert paused.paused_reason == "full disk"
    assert 'name="reason"' not in client.get(url("change")).content.decode()
    post(client, "resume")
    assert not row("nightly").is_paused
    post(client, "trigger")
    assert Workflow.objects.filter(schedule_name="nightly").count() == 1
    page = post(client, "delete").content.decode()
    assert "1 schedule will be deleted" in page
    assert Schedule.objects.exists()
    client.post(url("action", "delete"), {"post": "yes"})
    assert not Schedule.objects.exists()
    logged = LogEntry.objects.order_by("pk").values_list("change_message", flat=True)
    assert [*logged] == ["Paused.", "Resumed.", "Triggered.", "Deleted."]
    assert LogEntry.objects.latest("pk").action_flag == DELETION


def form_ids(client: Client, address: str | None = None) -> list[str]:
    page = client.get(address or url("change")).content.decode()
    return re.findall('name="form_id" value="([^"]+)"', page)


def test_a_button_that_is_clicked_twice_triggers_once(client: Client, nightly: None) -> None:
    log_in(client, *ALL)
    (form_id,) = form_ids(client)

    for _ in range(2):
        page = client.post(url("action", "trigger"), {"form_id": form_id}, follow=True)

    assert "This form was sent before." in page.content.decode()
    assert Workflow.objects.filter(schedule_name="nightly").count() == 1
    assert LogEntry.objects.count() == 1
    (other,) = form_ids(client)
    client.post(url("action", "trigger"), {"form_id": other})
    assert Workflow.objects.filter(schedule_name="nightly").count() == 2
    client.post(url("action", "trigger"), {"form_id": "nonsense"})
    assert Workflow.objects.filter(schedule_name="nightly").count() == 2


def test_an_action_of_the_list_that_is_clicked_twice_triggers_once(
    client: Client, nightly: None
) -> None:
    dbos.schedules.create("other", held, every=HOUR)
    log_in(client, *ALL)
    (form_id,) = form_ids(client, reverse(LIST))
    chosen = {"action": "trigger_selected", "_selected_action": ["nightly"], "form_id": form_id}

    client.post(reverse(LIST), chosen)
    both = {**chosen, "_selected_action": ["nightly", "other"]}
    page = client.post(reverse(LIST), both, follow=True).content.decode()

    # The one that was triggered before is refused, and the other one isn't.
    assert "This form was sent before." in page
    assert "1 schedule: Triggered." in page
    started = Workflow.objects.values_list("schedule_name", flat=True)
    assert sorted(started) == ["nightly", "other"]
    assert LogEntry.objects.count() == 2
    (later,) = form_ids(client, reverse(LIST))
    client.post(reverse(LIST), {**chosen, "form_id": later})
    assert Workflow.objects.filter(schedule_name="nightly").count() == 2
    # Django refuses a form that isn't valid, and a script needs none.
    client.post(reverse(LIST), {**chosen, "form_id": "nonsense"})
    assert Workflow.objects.filter(schedule_name="nightly").count() == 2
    client.post(reverse(LIST), {**chosen, "form_id": ""})
    assert Workflow.objects.filter(schedule_name="nightly").count() == 3


def test_the_actions_of_the_list_act_on_the_selected_ones(client: Client, nightly: None) -> None:
    dbos.schedules.create("other", held, every=HOUR)
    log_in(client, *ALL)

    client.post(reverse(LIST), {"action": "pause_selected", "_selected_action": ["nightly"]})

    assert [row(name).is_paused for name in ("nightly", "other")] == [True, False]


def test_the_action_of_the_list_deletes_once_it_is_confirmed(client: Client, nightly: None) -> None:
    dbos.schedules.create("other", held, every=HOUR)
    log_in(client, *ALL)
    chosen = {"action": "remove_selected", "_selected_action": ["nightly"]}

    page = client.post(reverse(LIST), chosen).content.decode()

    assert "every day at 03:00" in page
    assert 'name="_selected_action" value="nightly"' in page
    assert Schedule.objects.count() == 2
    client.post(reverse(LIST), {**chosen, "post": "yes"})
    assert row("other")
    assert Schedule.objects.count() == 1


def test_a_declared_schedule_isn_t_deleted(client: Client) -> None:
    with declared("nightly", report, every=HOUR), Executor():
        log_in(client, *ALL)
        buttons = get(client, url("change")).buttons
        assert "Pause" in buttons
        assert "Delete" not in buttons
        chosen = {"action": "remove_selected", "_selected_action": ["nightly"]}
        asked = client.post(reverse(LIST), chosen, follow=True).content.decode()
        assert "will be deleted" not in asked
        assert "is declared in code" in asked
        response = client.post(url("action", "delete"), {"post": "yes"}, follow=True)
        assert "is declared in code" in response.content.decode()
        assert "0 schedules" not in response.content.decode()
        assert Schedule.objects.exists()
        dbos.schedules.edit("nightly", priority=1)
        post(client, "reset")
        assert not row("nightly").edited


@pytest.mark.parametrize(
    ("action", "permission"),
    [
        ("pause", "pause_schedule"),
        ("trigger", "trigger_schedule"),
        ("delete", "delete_schedule"),
        ("reset", "change_schedule"),
    ],
)
def test_each_action_needs_its_permission(
    client: Client, nightly: None, action: str, permission: str
) -> None:
    log_in(client, *(set(ALL) - {permission}))

    assert post(client, action).status_code == 403
    assert not row("nightly").is_paused
    assert not Workflow.objects.exists()
    assert not LogEntry.objects.exists()


def test_the_form_needs_its_permission(client: Client, nightly: None) -> None:
    log_in(client, "view_schedule", "pause_schedule")

    assert client.post(url("change"), {"cron": "* * * * *"}).status_code == 403
    assert 'name="cron"' not in client.get(url("change")).content.decode()
    assert client.get(url("action", "pause")).status_code == 405
    assert post(client, "pause", schedule="missing").status_code == 404
    assert post(client, "explode").status_code == 404


def test_long_arguments_are_cut_and_can_be_downloaded(client: Client) -> None:
    long = "long words " * 1_000
    dbos.schedules.create("nightly", report, "0 3 * * *", args=[long])
    log_in(client, "view_schedule", "view_payload")

    page = get(client, url("change"))

    assert long not in page.text
    assert "long words" in page.text
    assert url("download") in page.links
    assert client.get(url("download")).json()["args"] == [long]


def test_without_the_view_permission_nothing_is_shown(client: Client, nightly: None) -> None:
    log_in(client, "pause_schedule")

    assert client.get(reverse(LIST)).status_code == 403
    assert client.get(url("change")).status_code == 403
