"""The options of a start: what they store, and which contradict each other."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync

import django_dbos as dbos
from django_dbos.core.records import Lane
from django_dbos.models import Workflow
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.flow.workflows import astarts, notes, starts, starts_in_step, starts_many
from tests.store.test_starting import told

pytestmark = pytest.mark.django_db
KEY = "customer-7"


def start(**options: Any) -> str:
    return notes.using(**options).start(1).workflow_id


def start_async(**options: Any) -> str:
    return async_to_sync(notes.using(**options).astart)(1).workflow_id


def start_many(**options: Any) -> str:
    return notes.using(**options).start_many([(1,)])[0].workflow_id


def start_by_name(**options: Any) -> str:
    return dbos.start_by_name(notes.name, 1, using=dbos.StartOptions(**options)).workflow_id


def start_through(workflow: Any, **options: Any) -> str:
    handle = workflow.start(options, 1)
    run_until_idle()
    return str(handle.get_result())


def start_as_child(**options: Any) -> str:
    return start_through(starts, **options)


def start_as_child_of_async(**options: Any) -> str:
    return start_through(astarts, **options)


def start_many_as_children(**options: Any) -> str:
    return start_through(starts_many, **options)


def start_in_step(**options: Any) -> str:
    return start_through(starts_in_step, **options)


def call(**options: Any) -> str:
    notes.using(**options)(1)
    return str(Workflow.objects.get(name=notes.name).workflow_id)


EVERYWHERE = [
    start, start_async, start_many, start_by_name, start_as_child, start_as_child_of_async,
    start_many_as_children, start_in_step, call,
]  # fmt: skip
everywhere = pytest.mark.parametrize("begin", EVERYWHERE)


@everywhere
def test_a_partition_key_is_stored(begin: Any) -> None:
    workflow_id = begin(partition_key=KEY)

    assert Workflow.objects.get(pk=workflow_id).partition_key == KEY


@everywhere
def test_without_one_it_is_empty(begin: Any) -> None:
    assert Workflow.objects.get(pk=begin(partition_key=None)).partition_key == ""


@everywhere
def test_a_unique_one_keeps_its_id_until_so_long_after_its_start(begin: Any) -> None:
    workflow = Workflow.objects.get(pk=begin(deduplication_id="d", unique_for=60))

    passed = workflow.unique_until - workflow.created_at
    assert abs(passed - timedelta(minutes=1)) < timedelta(seconds=5)


def test_many_have_the_same_key() -> None:
    notes.using(partition_key=KEY).start_many([(1,), (2,)])

    assert set(Workflow.objects.values_list("partition_key", flat=True)) == {KEY}


@pytest.mark.django_db(transaction=True)
def test_a_start_with_a_key_is_announced_with_its_whole_queue() -> None:
    """Keys are served in turn, so that no priority of one is claimed by itself."""
    with told(get_store()) as lanes:
        notes.using(partition_key=KEY, priority=3).start()
        notes.using(partition_key=KEY, priority=3).start_many([(), ()])
        notes.using(priority=3).start()

    assert lanes == [Lane("default", None), Lane("default", None), Lane("default", 3)]


def test_a_description_has_the_key() -> None:
    handle = notes.using(partition_key=KEY).start()

    assert handle.describe().partition_key == KEY
    assert notes.start().describe().partition_key is None


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"unique_for": 60}, "unique_for=60.0 needs a deduplication_id"),
    ({"on_duplicate": "replace"}, "needs a deduplication_id"),
    (
        {"deduplication_id": "d", "unique_for": 60, "on_duplicate": "replace"},
        'unique_for or on_duplicate="replace", not both',
    ),
    ({"debounce_key": "k"}, "debounce_key='k' needs a delay"),
    ({"delay": 60}, "needs a debounce_key. For a fixed delay use run_after"),
    ({"max_delay": 60}, "needs a debounce_key"),
    ({"debounce_key": "k", "delay": 2, "max_delay": 1}, "at least the delay of 2 s, but is 1 s"),
    ({"debounce_key": "k", "delay": 1, "workflow_id": "w"}, "debounce_key or workflow_id"),
    ({"debounce_key": "k", "delay": 1, "run_after": 5}, "debounce_key or run_after"),
    (
        {"debounce_key": "k", "delay": 1, "deduplication_id": "d"},
        "debounce_key or deduplication_id",
    ),
]


@everywhere
@pytest.mark.parametrize(("options", "message"), CONTRADICTIONS)
def test_contradictions_are_errors_of_the_caller(
    begin: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        begin(**options)

    assert not Workflow.objects.filter(name=notes.name).exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partition_key": ""}, "A partition key can't be empty"),
        ({"partition_key": 7}, "A partition key must be a str, not int 7"),
        ({"partition_key": "k" * 256}, "can't be longer than 255"),
        ({"debounce_key": "a\0"}, "A debounce key can't contain NUL"),
        ({"delay": 0}, "delay must be more than 0, but is 0."),
        ({"run_after": "noon"}, "run_after must be an instant, seconds or a timedelta"),
        ({"delay": -1}, "delay can't be negative"),
        ({"max_delay": float("nan")}, "max_delay must be a finite number"),
        ({"unique_for": 0}, "unique_for must be more than 0"),
        ({"unique_for": "1h"}, "unique_for must be seconds or a timedelta, not str '1h'"),
        ({"on_duplicate": "cancel"}, "must be 'return', 'reject' or 'replace', not 'cancel'"),
        ({"on_existing": "replace"}, "must be 'return' or 'reject', not 'replace'"),
        ({"partition": "k"}, "Did you mean 'partition_key'?"),
        ({"debouce_key": "k"}, "Did you mean 'debounce_key'?"),
    ],
)
def test_wrong_values_are_refused_where_they_are_given(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        notes.using(**options)

    assert message in str(caught.value)


@everywhere
def test_a_queue_with_limits_of_each_key_needs_one(begin: Any, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "QUEUES": {"imports": {"partition_concurrency": 1}}}

    with pytest.raises(ValueError, match="Queue 'imports' has partition_concurrency, so a start"):
        begin(queue_name="imports")

    assert not Workflow.objects.filter(name=notes.name).exists()


def test_several_workflows_cant_share_a_debounce_key() -> None:
    with pytest.raises(ValueError, match="the same debounce key 'k'"):
        notes.using(debounce_key="k", delay=1).start_many([(1,), (2,)])

    assert not Workflow.objects.exists()
