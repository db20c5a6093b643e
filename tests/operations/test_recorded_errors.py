"""Errors that depend on the world, of operations in a workflow: a replay has them again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django import forms
from django.contrib.auth.models import User
from django.db import connection
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


def asks_wrongly() -> str:
    return str(dbos.wait_any(note=dbos.form(NoteForm), never=dbos.form(NeverForm))[0])


OPERATIONS = {one.__name__: one for one in (starts, maps, limits, asks, asks_beside, asks_wrongly)}


class NeverForm(forms.Form):
    """A form class that is wrong at all times."""

    def __init__(self, *args: Any, **options: Any) -> None:
        raise ValueError("There is no such form.")


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

    kind = "ValueError" if operation in ("limits", "asks_wrongly") else "ConnectionError"
    assert handle.get_result(timeout=0) == [kind, "end"]
    assert [step.step_number for step in handle.steps() if step.error is not None] == [1]
    assert Workflow.objects.count() == 1
    assert not Inquiry.objects.pending().exists()


@pytest.mark.parametrize("was_recorded", [True, False])
def test_a_history_from_before_forms_were_closed_after_errors_is_replayed(
    was_recorded: bool,
) -> None:
    """Then a TypeError alone was recorded, and none was followed by the end of the other forms."""
    handle = handles.start("asks_wrongly")
    run_until_idle()
    assert [step.step_name for step in handle.steps()][:2] == ["dbos.wait_any", "dbos.close_form"]
    missing = "(2)" if was_recorded else "(1, 2)"
    with connection.cursor() as cursor:
        of_workflow = f"WHERE workflow_id = '{handle.workflow_id}' AND step_number"
        cursor.execute(f"DELETE FROM dbos_checkpoint {of_workflow} IN {missing}")
        for number in (3, 4):
            move = f"UPDATE dbos_checkpoint SET step_number = {number - 1}"
            cursor.execute(f"{move} {of_workflow} = {number}")

    handle.send("go")
    run_until_idle()

    assert handle.get_result(timeout=0) == ["ValueError", "end"]
    assert [step.step_number for step in handle.steps() if step.error is not None] == [1]


# Streams

LATER = "later"


@dbos.workflow
def writes() -> str:
    dbos.write_stream("s", "value")
    return "written"


@dbos.workflow
def reads() -> list[Any]:
    reader = dbos.read_stream(LATER, "s")
    try:
        found = list(reader)
    except dbos.WorkflowDoesNotExist as error:
        found = [note(str(error.workflow_id))]
    dbos.recv(timeout=None)
    return [*found, *reader]


@dbos.workflow
async def areads() -> list[Any]:
    reader = dbos.aread_stream(LATER, "s")
    try:
        found = [value async for value in reader]
    except dbos.WorkflowDoesNotExist as error:
        found = [await note.acall(str(error.workflow_id))]
    await dbos.arecv(timeout=None)
    return [*found, *[value async for value in reader]]


@dbos.workflow
async def reads_beside() -> list[Any]:
    reader = dbos.aread_stream(LATER, "s")

    async def read() -> list[Any]:
        try:
            return [value async for value in reader]
        except dbos.WorkflowDoesNotExist as error:
            return [await note.acall(str(error.workflow_id))]

    found, _ = await asyncio.gather(read(), note.acall("beside"))
    await dbos.arecv(timeout=None)
    return [*found, *[value async for value in reader]]


readers = pytest.mark.parametrize("workflow", [reads, areads, reads_beside])


@readers
def test_a_stream_that_was_not_there_is_not_there_in_a_replay(
    workflow: Any, run_through_crashes: Any
) -> None:
    def start() -> Any:
        Workflow.objects.filter(pk=LATER).delete_finished()
        handle = workflow.start()
        handle.send("go")
        return handle

    def check(handle: Any) -> None:
        assert handle.get_result(timeout=0) == [LATER, "value"]

    first = workflow.start()
    run_until_idle()
    writes.using(workflow_id=LATER).start()
    first.send("go")
    run_until_idle()
    check(first)
    assert [step.step_number for step in first.steps() if step.error is not None]

    def check_missing(handle: Any) -> None:
        with pytest.raises(dbos.WorkflowDoesNotExist):
            handle.get_result(timeout=0)

    # The second loop finds no workflow, either, in whichever run it begins.
    run_through_crashes(start, check_missing)


@readers
def test_a_stream_that_is_gone_stops_the_replay_that_reads_it_again(workflow: Any) -> None:
    source = writes.using(workflow_id=LATER).start()
    run_until_idle()
    handle = workflow.start()
    run_until_idle()
    document = source.export()
    source.delete()

    handle.send("go")
    run_until_idle()
    with pytest.raises(dbos.WorkflowDoesNotExist):
        handle.get_result(timeout=0)
    assert Workflow.objects.get(pk=handle.workflow_id).is_quarantined

    dbos.import_workflows(document)
    assert handle.resume()
    run_until_idle()
    assert handle.get_result(timeout=0) == ["value"]
