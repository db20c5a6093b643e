"""What retention deletes, and what stays: children, parents, other databases, stray rows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.models import QuerySet

import django_dbos as dbos
from django_dbos.core.retention import parse_rules
from django_dbos.executor.pruning import Pruning
from django_dbos.models import Message, StreamEntry, Workflow
from django_dbos.store import get_store
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session
from django_dbos.testing import run_until_idle

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dbos.workflow(name="keep.child")
def child() -> int:
    return 1


@dbos.workflow(name="keep.parent")
def parent(then_waits: bool = False) -> None:
    handle = child.using(workflow_id="child").start()
    if then_waits:
        dbos.recv(timeout=None)
    handle.get_result()


@dbos.workflow(name="keep.endless")
def endless(number: int) -> None:
    if number == 1:
        child.using(workflow_id="child").start().get_result()
        dbos.continue_as_new(2)
    dbos.recv(timeout=None)


@dbos.workflow(name="keep.renews")
def renews(number: int) -> None:
    child.using(workflow_id=f"child-{number}").start()
    if number == 1:
        dbos.continue_as_new(2)
    dbos.recv(timeout=None)


@dbos.workflow(name="keep.fails")
def fails() -> None:
    raise ValueError("on purpose")


@pytest.fixture
def store() -> Store:
    return get_store()


@pytest.fixture
def session(store: Store) -> Iterator[Session]:
    opened = store.connect("test", "test")
    yield opened
    opened.close()


def age(**which: Any) -> None:
    rows = QuerySet(Workflow).filter(**which)
    rows.update(created_at=LONG_AGO)
    rows.filter(finished_at__isnull=False).update(finished_at=LONG_AGO)


def prune(store: Store, session: Session, *rules: Any) -> dict[tuple[str, str], int]:
    """Delete by these rules; return the numbers."""
    given = parse_rules(rules or [{"age": 3_600}], "RULES")
    pruning = Pruning(store, time.monotonic, rules=given, patience=1.0)
    *_, pruned = pruning.delete_old(session)
    return dict(pruned.workflows)


def left() -> set[str]:
    return set(Workflow.objects.values_list("name", flat=True))


@pytest.mark.rule(50)
def test_a_child_stays_while_its_parent_may_refer_to_it(store: Store, session: Session) -> None:
    """A parent that is woken, or resumed, asks for the result of a child that it has started."""
    handle = parent.start(then_waits=True)
    run_until_idle()
    age()

    assert prune(store, session) == {}
    handle.cancel()
    QuerySet(Workflow).filter(name="keep.child").update(finished_at=LONG_AGO)
    assert prune(store, session) == {}

    handle.resume()
    handle.send("go on")
    run_until_idle()
    assert handle.get_result() is None


def test_a_finished_child_goes_after_its_parent(store: Store, session: Session) -> None:
    parent.start()
    run_until_idle()
    age()

    assert prune(store, session) == {
        ("keep.parent", "SUCCESS"): 1,
        ("keep.child", "SUCCESS"): 1,
    }


def test_a_child_of_a_past_run_does_not_stay(store: Store, session: Session) -> None:
    handle = endless.start(1)
    run_until_idle()
    age()

    assert prune(store, session) == {("keep.child", "SUCCESS"): 1}
    assert handle.get_status() == "WAITING"


def test_the_last_step_of_a_past_run_and_the_first_of_this_one_are_told_apart(
    store: Store, session: Session
) -> None:
    handle = renews.start(1)
    run_until_idle()
    age()

    assert prune(store, session) == {("keep.child", "SUCCESS"): 1}
    ids = set(Workflow.objects.values_list("workflow_id", flat=True))
    assert ids == {handle.workflow_id, "child-2"}


def test_rules_by_status_name_and_count(store: Store, session: Session) -> None:
    for _ in range(3):
        fails.start()
        child.start()
    run_until_idle()
    age(name="keep.fails")

    rules = ({"status": "ERROR", "age": None}, {"name": "keep.*", "count": 1})
    assert prune(store, session, *rules) == {("keep.child", "SUCCESS"): 2}
    assert prune(store, session, {"status": "ERROR", "age": 60}) == {("keep.fails", "ERROR"): 3}
    assert left() == {"keep.child"}


@pytest.mark.rule(50)
def test_a_workflow_that_went_on_since_it_was_read_is_not_marked(
    store: Store, session: Session
) -> None:
    handle = parent.start(then_waits=True)
    run_until_idle()
    handle.cancel()
    child_row = Workflow.objects.get(name="keep.child")
    QuerySet(Workflow).filter(pk=child_row.pk).delete()
    found, _ = store.list_finished(session, 0.0, store.first_place, 10)
    assert [row.is_kept for row in found] == [False]

    handle.resume()
    run_until_idle()
    handle.cancel()

    assert store.mark_deleted(session, found) == []


def test_a_walk_goes_page_by_page_over_workflows_of_one_instant(
    store: Store, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_dbos.executor.pruning.MAX_WORKFLOWS", 2)
    child.start_many([()] * 7)
    run_until_idle()
    age()

    assert prune(store, session, {"count": 2}) == {("keep.child", "SUCCESS"): 5}
    assert Workflow.objects.count() == 2


def test_stray_rows_are_deleted(store: Store, session: Session) -> None:
    handle = child.start()
    other = child.start()
    run_until_idle()
    for receiver in (handle, other):
        receiver.send("late")
    QuerySet(Workflow).filter(workflow_id=handle.workflow_id).delete()
    pruning = Pruning(store, time.monotonic, rules=parse_rules(60, "RULES"), patience=1.0)

    *_, pruned = pruning.delete_strays(session)

    assert pruned.strays == 1
    assert list(Message.objects.values_list("workflow_id", flat=True)) == [other.workflow_id]
    assert not StreamEntry.objects.exists()


def test_the_command_shows_and_deletes(capsys: Any) -> None:
    child.start_many([()] * 3)
    fails.start()
    run_until_idle()
    age()

    call_command("dbos_prune", "--older-than=30d", "--status=SUCCESS", "--dry-run", "--format=json")
    shown = json.loads(capsys.readouterr().out)
    assert shown == {
        "is_dry_run": True,
        "workflows": [{"name": "keep.child", "status": "SUCCESS", "count": 3}],
        "total": 3,
        "past_runs": 0,
        "strays": 0,
        "steps_elsewhere": 0,
    }
    assert Workflow.objects.count() == 4

    call_command("dbos_prune", "--keep=1", "--name=keep.ch*", "--strays")
    assert "Workflows deleted: 2" in capsys.readouterr().out
    call_command("dbos_prune", "--older-than=30d")
    assert "keep.fails  ERROR    1" in capsys.readouterr().out
    assert not Workflow.objects.exists()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("keep.chidl", "No function here is named 'keep.chidl'. Did you mean 'keep.child'?"),
        ("child", "--name takes the whole name: keep.child"),
        ("kep.*", "No function here has a name like 'kep.*'. Did you mean 'keep.*'?"),
        ("keep.child", ""),
        ("keep.*", ""),
        ("*", ""),
    ],
)
@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_the_command_names_what_a_misspelt_name_may_mean(
    capsys: Any, options: list[str], name: str, hint: str
) -> None:
    call_command("dbos_prune", "--older-than=30d", f"--name={name}", *options)

    said = capsys.readouterr().err
    assert said.startswith(hint)
    assert bool(said) is bool(hint)


def test_a_name_of_workflows_that_are_gone_from_the_code_needs_no_hint(capsys: Any) -> None:
    child.start()
    run_until_idle()
    age()
    QuerySet(Workflow).update(name="keep.chidl")

    call_command("dbos_prune", "--older-than=30d", "--name=keep.chidl")

    assert capsys.readouterr().err == ""
    assert not Workflow.objects.exists()


def test_the_command_goes_by_the_setting(capsys: Any, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "RETENTION": [{"status": "ERROR", "age": 60}]}
    child.start()
    fails.start()
    run_until_idle()
    age()

    call_command("dbos_prune")

    assert left() == {"keep.child"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "DBOS['RETENTION'] isn't set. Give --older-than, such as --older-than 30d."),
        (["--older-than=0d"], "--older-than must be more than 0."),
        (["--older-than=30"], "--older-than must be a number with a unit"),
        (["--older-than="], "--older-than must be a number with a unit"),
        (["--older-than=1d", "--name="], "--name can't be empty."),
        (["--older-than=1d", "--strays", "--dry-run"], "--strays and --dry-run can't be combined"),
        (["--older-than=soon"], "--older-than must be a number with a unit"),
        (["--older-than=1d", "--keep=2"], "can't be combined"),
        (["--keep=0"], "--keep must be at least 1, not 0."),
        (["--status=ERROR"], "--status and --name need --older-than or --keep."),
        (["--older-than=1d", "--status=EROR"], "Did you mean 'ERROR'?"),
        (["--older-than=1d", "--name=a*b"], "may have a '*' at its end only"),
        (["--database=elsewhere"], "isn't in DATABASES"),
    ],
)
def test_the_command_refuses_nonsense(options: list[str], message: str) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("dbos_prune", *options)

    assert message in str(caught.value)
