"""The actions that need a form: another queue, another start, a message."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_dbos.admin.acts import ACTS
from django_dbos.admin.values import instant
from django_dbos.models import Message, Workflow
from django_dbos.testing import run_until_idle
from tests.admin.conftest import LIST, Page, get, log_in, page_of, url_of
from tests.admin.workflows import busy, quick

pytestmark = pytest.mark.django_db

LIMITED = {"DBOS": {"QUEUES": {"limited": {"partition_concurrency": 1}}}}
EVERYTHING = (
    "view_workflow",
    "cancel_workflow",
    "resume_workflow",
    "reschedule_workflow",
    "send_message",
    "change_attributes",
)


@pytest.fixture
def staff(client: Client) -> Client:
    return log_in(client, *EVERYTHING)


def local(value: datetime) -> datetime:
    """Return an instant as the admin shows it, with and without USE_TZ."""
    return timezone.localtime(value) if timezone.is_aware(value) else value


def fill(client: Client, name: str, workflow_id: str, **filled: Any) -> Page:
    """Send the form of a button; return the page after it."""
    asked = get(client, url_of(name, workflow_id))
    response = client.post(url_of(name, workflow_id), {**asked.hidden, **filled}, follow=True)
    return Page(response.content.decode())


def fill_many(client: Client, action: str, *workflow_ids: str, **filled: Any) -> Page:
    """Choose workflows of the list, and send the form that an action shows."""
    data = {"action": action, "_selected_action": workflow_ids}
    asked = Page(client.post(reverse(LIST), data).content.decode())
    response = client.post(reverse(LIST), {**asked.hidden, **filled}, follow=True)
    return Page(response.content.decode())


@pytest.mark.parametrize("name", ACTS)
def test_each_act_needs_its_permission(client: Client, name: str) -> None:
    needed = ACTS[name].permission
    log_in(client, *(permission for permission in EVERYTHING if permission != needed))
    handle = quick.using(run_after=3600).start()

    page, listed = get(client, page_of(handle.workflow_id)), get(client, reverse(LIST))

    assert url_of(name, handle.workflow_id) not in page.html
    assert f'value="{name}"' not in listed.html
    assert client.post(url_of(name, handle.workflow_id)).status_code == 403
    assert client.get(url_of(name, handle.workflow_id)).status_code == 403
    assert (handle.get_status(), Message.objects.count()) == ("DELAYED", 0)


@pytest.mark.parametrize("name", ACTS)
def test_no_act_is_done_by_reading_or_without_a_token(
    staff: Client, admin_user: Any, name: str
) -> None:
    forger = Client(enforce_csrf_checks=True)
    forger.force_login(admin_user)
    handle = quick.using(run_after=3600).start()

    staff.get(url_of(name, handle.workflow_id))

    assert forger.post(url_of(name, handle.workflow_id)).status_code == 403
    assert (handle.get_status(), Message.objects.count()) == ("DELAYED", 0)


# Another start


def test_the_start_of_a_delayed_workflow_is_changed(staff: Client) -> None:
    handle = quick.using(run_after=3600).start()
    later = local(timezone.now()).replace(microsecond=0) + timedelta(days=3)

    page = fill(staff, "change_start", handle.workflow_id, run_after=f"{later:%Y-%m-%dT%H:%M:%S}")

    assert Workflow.objects.get().due_at == later
    assert "The start of 1 workflow changed." in page.text
    assert LogEntry.objects.get().change_message == f"Start changed to {instant(later)}."
    assert handle.get_status() == "DELAYED"


def test_a_time_that_has_passed_starts_it(staff: Client) -> None:
    handle = quick.using(run_after=3600).start("x")

    fill(staff, "change_start", handle.workflow_id, run_after="2020-01-01T00:00")
    run_until_idle()

    assert handle.get_result(timeout=0) == "x"


def test_a_held_workflow_starts_when_it_is_run(staff: Client) -> None:
    handle = quick.using(run_after=3600).start("x")

    fill(staff, "change_start", handle.workflow_id, is_held="on")

    assert Workflow.objects.get().due_at.year == 9998
    assert LogEntry.objects.get().change_message == "Held until somebody runs it."
    staff.post(url_of("resume", handle.workflow_id))
    run_until_idle()
    assert handle.get_result(timeout=0) == "x"


@pytest.mark.parametrize(
    ("filled", "said"),
    [
        ({}, "Give a time, or hold the workflows."),
        ({"run_after": "2030-01-01T00:00", "is_held": "on"}, "Give a time, or hold"),
        ({"run_after": "soon"}, "Enter a valid date/time."),
        ({"run_after": "0001-01-01T00:00"}, "after the year 1"),
        ({"run_after": "0001-01-01T00:00+14:00"}, ""),
    ],
)
def test_an_impossible_start_is_refused(staff: Client, filled: dict[str, str], said: str) -> None:
    handle = quick.using(run_after=3600).start()
    due = Workflow.objects.get().due_at

    page = fill(staff, "change_start", handle.workflow_id, **filled)

    assert said in page.text
    assert Workflow.objects.get().due_at == due
    assert not LogEntry.objects.exists()


def test_the_starts_of_many_are_changed(staff: Client) -> None:
    delayed = [quick.using(run_after=3600).start() for _ in range(2)]
    running = busy.start()
    ids = [handle.workflow_id for handle in (*delayed, running)]

    page = fill_many(staff, "change_start", *ids, run_after="2020-01-01T00:00")

    assert "The start of 2 workflows changed, 1 isn't delayed." in page.text
    assert f"Unchanged: {running.workflow_id} (queued)." in page.text
    assert page_of(running.workflow_id) in page.links
    assert LogEntry.objects.count() == 2


# Another queue


def test_a_workflow_is_resumed_in_another_queue(staff: Client) -> None:
    handle = busy.start()
    run_until_idle()

    page = fill(staff, "resume_in_queue", handle.workflow_id, queue_name="slow lane")

    assert "1 resumed." in page.text
    workflow = Workflow.objects.get()
    assert (workflow.status, workflow.queue_name) == ("ENQUEUED", "slow lane")
    assert LogEntry.objects.get().change_message == "Resumed in queue 'slow lane'."


def test_known_queues_are_suggested(staff: Client) -> None:
    handle = busy.start()
    run_until_idle()

    page = get(staff, url_of("resume_in_queue", handle.workflow_id))

    assert '<datalist id="dbos-queues"><option value="default">' in page.html
    assert 'list="dbos-queues"' in page.html


def test_each_workflow_that_a_queue_refuses_is_named(staff: Client, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, **LIMITED["DBOS"]}
    with_key, without = busy.using(partition_key="a").start(), busy.start()
    done = quick.start()
    run_until_idle()
    ids = [handle.workflow_id for handle in (with_key, without, done)]

    page = fill_many(staff, "resume_in_queue", *ids, queue_name="limited")

    assert "1 resumed, 2 can't be resumed." in page.text
    assert f"{without.workflow_id} (the queue needs a partition key)" in page.text
    assert f"{done.workflow_id} (succeeded)" in page.text
    assert {found.workflow_id for found in Workflow.objects.filter(queue_name="limited")} == {
        with_key.workflow_id
    }
    assert LogEntry.objects.get().object_id == with_key.workflow_id


@pytest.mark.parametrize("queue_name", ["", "q" * 256, "a\0b"])
def test_an_impossible_queue_is_refused(staff: Client, queue_name: str) -> None:
    handle = busy.start()
    run_until_idle()

    page = fill(staff, "resume_in_queue", handle.workflow_id, queue_name=queue_name)

    assert "Please correct the error below." in page.text
    assert handle.get_status() == "WAITING"


# A message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"approved": true, "by": "Ada"}', {"approved": True, "by": "Ada"}),
        (' "a text" ', "a text"),
        ("null", None),
        ('{"$tuple": [1]}', {"$tuple": [1]}),
    ],
)
def test_a_message_is_sent_as_json(staff: Client, text: str, value: Any) -> None:
    handle = busy.start()
    run_until_idle()

    page = fill(staff, "send_message", handle.workflow_id, topic="paid", message=text)
    run_until_idle()

    assert "1 message sent." in page.text
    assert handle.get_result(timeout=0) == value
    assert LogEntry.objects.get().change_message == "Sent a message on topic 'paid'."


def test_a_form_that_is_sent_twice_sends_one_message(staff: Client) -> None:
    handle = quick.using(queue_name="later").start()
    url = url_of("send_message", handle.workflow_id)
    data = {**get(staff, url).hidden, "message": "5", "topic": ""}

    for _ in range(2):
        assert staff.post(url, data).status_code == 302

    message = Message.objects.get()
    assert (message.message, message.topic) == (5, "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "This field is required."),
        ("yes", "This isn't JSON: Expecting value, in line 1, column 1. Texts need quotes."),
        ("{'a': 1}", "This isn't JSON"),
        ("NaN", "NaN isn't JSON"),
        (r'"\ud800"', "This can't be sent"),
        ("[" * 50_000, "This"),
        ("9" * 5_000, "This can't be sent"),
    ],
)
def test_what_is_no_message_is_refused(staff: Client, text: str, said: str) -> None:
    handle = busy.start()

    page = fill(staff, "send_message", handle.workflow_id, message=text)

    assert said in page.text
    assert not Message.objects.exists()
    assert not LogEntry.objects.exists()


def test_a_message_that_is_too_large_is_refused(staff: Client, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "MAX_PAYLOAD_BYTES": 100}
    handle = quick.start()

    page = fill(staff, "send_message", handle.workflow_id, message=f'"{"x" * 100}"')

    assert "can't be longer than 100 bytes" in page.text
    assert not Message.objects.exists()


def test_a_message_is_sent_to_those_that_are_active(staff: Client) -> None:
    done = quick.start()
    run_until_idle()
    active = [busy.start(), quick.using(run_after=3600).start()]
    ids = [handle.workflow_id for handle in (done, *active)]

    page = fill_many(staff, "send_message", *ids, message="1", topic="paid")

    assert "2 messages sent, 1 had already finished." in page.text
    assert f"Unchanged: {done.workflow_id} (succeeded)." in page.text
    assert set(Message.objects.values_list("workflow_id", flat=True)) == set(ids[1:])


def test_an_invalid_form_of_the_list_keeps_what_was_chosen(staff: Client) -> None:
    handle = busy.start()

    page = fill_many(staff, "send_message", handle.workflow_id, message="yes", topic="paid")

    assert "This isn't JSON" in page.text
    assert page.hidden["_selected_action"] == [handle.workflow_id]
    assert page.hidden["action"] == ["send_message"]
    assert 'value="paid"' in page.html


def test_names_on_the_pages_are_escaped(staff: Client) -> None:
    script = "<script>alert(1)</script>"
    done = quick.using(workflow_id=f"{script}-done").start()
    run_until_idle()
    handle = busy.using(workflow_id=script, queue_name=script).start()

    asked = get(staff, url_of("send_message", handle.workflow_id))
    ids = [handle.workflow_id, done.workflow_id]
    said = fill_many(staff, "send_message", *ids, topic=script, message="1")

    for page in (asked, said):
        assert script in page.text
        assert script not in page.html


def test_a_form_suggests_what_the_workflow_has(staff: Client) -> None:
    waiting = busy.using(queue_name="mail").start()
    run_until_idle(["mail"])
    delayed = quick.using(run_after=3600).start()
    due = local(Workflow.objects.get(pk=delayed.workflow_id).due_at)

    message = get(staff, url_of("send_message", waiting.workflow_id))
    queue = get(staff, url_of("resume_in_queue", waiting.workflow_id))
    start = get(staff, url_of("change_start", delayed.workflow_id))

    assert 'name="topic" value="paid"' in message.html
    assert 'name="queue_name" value="mail"' in queue.html
    assert f'name="run_after" value="{due:%Y-%m-%dT%H:%M:%S}"' in start.html
