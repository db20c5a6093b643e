"""Every address and every action of the admin by every role.

A new address has to be added to the table here; those of new actions are found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import URLPattern, reverse

from django_dbos.admin.acts import ACTS
from django_dbos.admin.asking import ANSWER
from django_dbos.models import Event, Executor, Inquiry, Message, Queue, Schedule, Workflow

pytestmark = pytest.mark.django_db

ADMINS = {
    str(model._meta.model_name): model_admin
    for model, model_admin in admin.site._registry.items()
    if model._meta.app_label == "django_dbos"
}
MODELS = sorted(ADMINS)
# Each action in the menu of a list.
LIST_ACTIONS = [(model, action) for model in MODELS for action in ADMINS[model].actions or ()]
# What a GET is answered with: to somebody who may only view the rows, and to a superuser.
OF_ALL = {"changelist": (200, 200), "change": (200, 200), "history": (200, 200)}
# Rows can neither be added nor deleted by anybody.
OF_ALL |= {"add": (403, 403), "delete": (403, 403)}
ANSWERS: dict[str, tuple[int, int]] = {
    **{f"{model}_{view}": answers for model in MODELS for view, answers in OF_ALL.items()},
    # Values have a permission of their own.
    "event_download": (403, 200),
    "message_download": (403, 200),
    "schedule_download": (403, 200),
    "schedule_backfill": (403, 200),
    # Nobody has answered yet.
    "inquiry_download": (404, 404),
    "executor_drain": (403, 200),
    "queue_action": (405, 405),
    "schedule_action": (405, 405),
    # Those that ask for nothing act at once, by POST alone.
    **{f"workflow_{act.name}": (403, 200 if act.asks_first else 405) for act in ACTS.values()},
    "workflow_overview": (200, 200),
    "workflow_versions": (200, 200),
    # Only the workflows of actions on many have a progress.
    "workflow_progress": (404, 404),
    "workflow_rows": (200, 200),
}
# Only these read without the permission for the rows: they act, and by POST alone.
ONLY_POST = ("queue_action", "schedule_action")


def addresses() -> Iterator[URLPattern]:
    """The addresses of the package's models that have names; the others lead to these."""
    for model_admin in ADMINS.values():
        yield from (found for found in model_admin.get_urls() if found.name)


NAMES = [str(found.name).removeprefix("django_dbos_") for found in addresses()]


def address(name: str, keys: dict[str, str]) -> str:
    model, _, view = name.partition("_")
    args = [] if view in ("changelist", "add", "overview", "versions") else [quote(keys[model])]
    more = {"queue_action": ["pause"], "schedule_action": ["pause"], "workflow_rows": ["steps"]}
    return reverse(f"admin:django_dbos_{name}", args=[*args, *more.get(name, [])])


def rows() -> list[Any]:
    """What the addresses could change."""
    return [
        list(Workflow.objects.order_by("pk").values_list("pk", "status", "due_at")),
        list(Queue.objects.values_list("name", "paused_at")),
        list(Schedule.objects.values_list("name", "paused_at")),
        list(Executor.objects.values_list("pk", "drain_requested_at")),
        [model.objects.count() for model in (Event, Inquiry, Message, LogEntry)],
    ]


def test_every_address_has_its_answers() -> None:
    assert sorted(NAMES) == sorted(ANSWERS)


def staff(client: Client, *permissions: str) -> Client:
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


def answers(
    client: Client, keys: dict[str, str], names: list[str] = NAMES, **posted: str
) -> dict[str, tuple[int, int]]:
    """The answers of each address to a GET and to a POST, which change nothing."""
    before, found = rows(), {}
    for name in names:
        url = address(name, keys)
        found[name] = client.get(url).status_code, client.post(url, posted).status_code
        assert rows() == before, name
    return found


@pytest.mark.parametrize("role", ["nobody", "customer"])
def test_those_who_are_no_staff_are_led_to_the_login(
    role: str, keys: dict[str, str], client: Client
) -> None:
    if role == "customer":
        customer = User.objects.create_user("customer")
        customer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        client.force_login(customer)

    assert answers(client, keys) == dict.fromkeys(NAMES, (302, 302))
    for name in NAMES:
        assert client.get(address(name, keys))["Location"].startswith(reverse("admin:login"))


@pytest.mark.parametrize("model", MODELS)
def test_the_permissions_for_other_rows_open_nothing(
    model: str, keys: dict[str, str], client: Client
) -> None:
    others = (f"view_{other}" for other in MODELS if other != model)
    staff(client, *others, "view_payload")
    own = [name for name in NAMES if name.startswith(f"{model}_")]

    assert answers(client, keys, own) == {
        name: (405 if name in ONLY_POST else 403, 403) for name in own
    }


def test_a_viewer_sees_rows_and_does_nothing(keys: dict[str, str], client: Client) -> None:
    staff(client, *(f"view_{model}" for model in MODELS))

    found = answers(client, keys, post="yes", action="cancel_selected")

    assert {name: read for name, (read, _) in found.items()} == {
        name: read for name, (read, _) in ANSWERS.items()
    }


def test_a_superuser_changes_nothing_by_reading_or_without_a_token(
    keys: dict[str, str], admin_user: Any
) -> None:
    forger = Client(enforce_csrf_checks=True)
    forger.force_login(admin_user)

    assert answers(forger, keys, post="yes") == {
        name: (read, 403) for name, (_, read) in ANSWERS.items()
    }


# The actions of the lists


def choose(client: Client, model: str, action: str, keys: dict[str, str]) -> int:
    """Choose an action for the row of a model, and confirm it; return the status."""
    confirmed = {ANSWER: "yes", "post": "yes"}
    data = {"action": action, "_selected_action": [keys[model]], **confirmed}
    return client.post(reverse(f"admin:django_dbos_{model}_changelist"), data).status_code


@pytest.mark.parametrize(("model", "action"), LIST_ACTIONS)
def test_an_action_of_a_list_needs_its_permission_and_a_token(
    model: str, action: str, keys: dict[str, str], client: Client, admin_user: Any
) -> None:
    offered = f'<option value="{action}">'
    url = reverse(f"admin:django_dbos_{model}_changelist")
    viewer, forger = Client(), Client(enforce_csrf_checks=True)
    staff(viewer, *(f"view_{other}" for other in MODELS))
    forger.force_login(admin_user)
    before = rows()

    choose(viewer, model, action, keys)
    choose(client, model, action, keys)

    assert choose(forger, model, action, keys) == 403
    assert rows() == before
    assert offered not in viewer.get(url).content.decode()
    # It is there, for those who may.
    assert offered in forger.get(url).content.decode()
