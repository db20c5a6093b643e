"""Errors that depend on the world, of operations in a workflow: a replay has them again."""

from __future__ import annotations

from typing import Any

import pytest
from django import forms
from django.contrib.auth.models import User
from django.test import override_settings

import django_dbos as dbos
from django_dbos.models import Inquiry, Workflow
from django_dbos.testing import run_until_idle

pytestmark = pytest.mark.django_db

QUEUE = "narrow"
DOWN: set[str] = set()


class Directory:
    """An authentication backend that asks a server, which may be down."""

    def authenticate(self, request: Any, **credentials: Any) -> None:
        return None

    def has_perm(self, user: Any, permission: str, obj: Any = None) -> bool:
        if "directory" in DOWN:
            raise ConnectionError("The directory doesn't answer.")
        return True


class NoteForm(forms.Form):
    note = forms.CharField()


class RatesForm(forms.Form):
    """A form that asks a server for its choices."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if "rates" in DOWN:
            raise ConnectionError("The rates aren't there.")


@dbos.workflow(permission="auth.delete_user")
def guarded(number: int) -> str:
    return "started"


@dbos.step
def note(error: str) -> str:
    return error


def starts() -> str:
    return str(guarded.start(1).get_result())


def maps() -> str:
    return str(guarded.map([1, 2]))


def limits() -> str:
    dbos.queues.set(QUEUE, partition_concurrency=5)
    return "limited"


def asks() -> str:
    return str(dbos.wait_for_form(RatesForm, title="Rates", timeout=60, default="late"))


def asks_beside() -> str:
    note_form, rates_form = (dbos.form(one, title="Rates") for one in (NoteForm, RatesForm))
    return str(dbos.wait_any(note=note_form, rates=rates_form)[0])


OPERATIONS = {one.__name__: one for one in (starts, maps, limits, asks, asks_beside)}


@dbos.workflow
def handles(operation: str) -> list[str]:
    try:
        found = OPERATIONS[operation]()
    except (ConnectionError, ValueError) as error:
        found = note(type(error).__name__)
    dbos.recv(timeout=None)
    return [found, note("end")]


@dbos.workflow
async def ahandles(operation: str) -> list[str]:
    try:
        if operation == "starts":
            found = await (await guarded.astart(1)).aget_result()
        elif operation == "limits":
            found = str(await dbos.queues.aset(QUEUE, partition_concurrency=5))
        else:
            found = str(await dbos.await_for_form(RatesForm, title="Rates", timeout=60))
    except (ConnectionError, ValueError) as error:
        found = await note.acall(type(error).__name__)
    await dbos.arecv(timeout=None)
    return [found, await note.acall("end")]


@pytest.fixture
def trouble() -> Any:
    """Yield what ends the trouble that all operations have."""
    DOWN.update({"directory", "rates"})
    dbos.queues.set(QUEUE, concurrency=2)

    def end() -> None:
        DOWN.clear()
        dbos.queues.set(QUEUE, concurrency=9)

    with override_settings(AUTHENTICATION_BACKENDS=[f"{__name__}.Directory"]):
        yield end
    DOWN.clear()


@pytest.mark.parametrize(
    ("workflow", "operation"),
    [
        *((handles, operation) for operation in OPERATIONS),
        *((ahandles, operation) for operation in ("starts", "limits", "asks")),
    ],
)
def test_an_error_that_a_replay_would_not_have_is_recorded(
    workflow: Any, operation: str, trouble: Any
) -> None:
    user = User.objects.create(username="anna")
    handle = workflow.using(user=user).start(operation)
    run_until_idle()
    assert handle.get_status() == "WAITING"
    assert not Inquiry.objects.pending().exists()

    trouble()
    handle.send("go")
    run_until_idle()

    kind = "ValueError" if operation == "limits" else "ConnectionError"
    assert handle.get_result(timeout=0) == [kind, "end"]
    assert [step.step_number for step in handle.steps() if step.error is not None] == [1]
    assert Workflow.objects.count() == 1
    assert not Inquiry.objects.pending().exists()
