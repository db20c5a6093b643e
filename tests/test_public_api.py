"""The public names: cheap to import, in sync and async twins, and strict about their arguments."""

from __future__ import annotations

import copy
import functools
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.core.registry import WorkflowDefinition
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle

TWINS = sorted(
    name for name in dbos.__all__ if f"a{name}" in dbos.__all__ and name not in ("step", "logger")
)


def test_it_can_be_imported_before_settings_are_configured_and_alone() -> None:
    code = (
        "import sys, django_dbos\n"
        "wanted_later = {'psycopg', 'channels', 'sqlite3', 'importlib.metadata',\n"
        "                'django.contrib.auth', 'django_dbos.models'}\n"
        "assert not wanted_later & sys.modules.keys()\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": ""})


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_takes_the_same(name: str) -> None:
    sync, twin = getattr(dbos, name), getattr(dbos, f"a{name}")

    assert inspect.signature(sync).parameters.keys() == inspect.signature(twin).parameters.keys()
    assert {k: p.default for k, p in inspect.signature(sync).parameters.items()} == {
        k: p.default for k, p in inspect.signature(twin).parameters.items()
    }


WITHOUT_DATABASE = ("using", "version")


@pytest.mark.parametrize("cls", [dbos.WorkflowHandle, dbos.WorkflowFunction])
def test_every_method_that_uses_the_database_has_its_twin(cls: type) -> None:
    for name, method in vars(cls).items():
        if name.startswith("_") or not inspect.isfunction(method) or name in WITHOUT_DATABASE:
            continue
        if (name.startswith("a") and hasattr(cls, name[1:])) or name == "acall":
            continue
        twin = getattr(cls, f"a{name}")
        assert inspect.signature(method).parameters.keys() == (
            inspect.signature(twin).parameters.keys()
        )


def test_every_public_name_has_a_docstring() -> None:
    for name in dbos.__all__:
        if name != "logger":
            assert inspect.getdoc(getattr(dbos, name)), name


@dbos.workflow
def plain(value: Any = None) -> Any:
    return value


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.django_db
@pytest.mark.parametrize(
    "options",
    [
        {"priority": 101},
        {"priority": "high"},
        {"run_after": -1},
        {"timeout": 0},
        {"timeout": -5},
        {"workflow_id": ""},
        {"workflow_id": "x" * 256},
        {"workflow_id": "nul\0"},
        {"workflow_id": "\ud800"},
        {"queue_name": ""},
        {"deduplication_id": ""},
        {"on_duplicate": "ignore"},
        {"on_existing": None},
        {"attributes": [1]},
        {"attributes": {"a": object()}},
        {"attributes": {"a": float("nan")}},
        {"attributes": {1: "a"}},
        {"attributes": {"a": [{1: "b"}]}},
        {"attributes": {"a": "\ud800"}},
        {"attributes": {"a": [{"\ud800": 1}]}},
        {"attributes": {"a": ["nul\0"]}},
        {"attributes": {"nul\0": 1}},
        {"attributes": {"a": deep(200)}},
        {"attributes": {"a": deep(100_000)}},
        {"retries": 3},
    ],
)
def test_impossible_options_are_refused_and_leave_nothing(options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        plain.using(**options).start()

    assert not Workflow.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "attributes",
    [
        {"path": r"C:\u0000", "more": ["\\u0000", "ü😀\n"]},
        {"": "", "a": None, "b": [1, 2.5, True, {"$x": 1}], "c": deep(90)},
        {},
    ],
)
def test_attributes_come_back_as_they_were(attributes: dict[str, Any]) -> None:
    handle = plain.using(attributes=attributes).start()

    assert Workflow.objects.get(pk=handle.workflow_id).attributes == attributes


@pytest.mark.django_db
def test_attributes_have_the_limit_of_other_values(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "MAX_PAYLOAD_BYTES": 1_000}
    plain.using(attributes={"a": "x" * 900}).start()

    for attributes in ({"a": "x" * 1_001}, {"a": "ü" * 501}, {"x" * 1_001: 1}):
        with pytest.raises(dbos.PayloadTooLarge, match="attributes"):
            plain.using(attributes=attributes).start()
    assert Workflow.objects.count() == 1


def test_an_unknown_option_comes_with_a_suggestion() -> None:
    with pytest.raises(TypeError, match="Did you mean 'queue_name'"):
        plain.using(queue="fast")


def test_the_error_for_a_naive_instant_names_the_remedy(settings: Any) -> None:
    settings.USE_TZ = True
    with pytest.raises(ValueError, match=r"Use django\.utils\.timezone\.now\(\) or make_aware"):
        plain.using(run_after=datetime(2030, 1, 1))


def test_options_are_merged() -> None:
    merged = plain.using(priority=1, queue_name="a").using(priority=2)

    assert merged._options.get("priority", 0) == 2
    assert merged._options.get("queue_name", "") == "a"
    assert plain._options.get("priority", 0) == 0


@pytest.mark.django_db
@pytest.mark.parametrize("value", [object(), float("inf"), {1, object()}, "x" * 5_000_000])
def test_arguments_that_cannot_be_stored_are_refused_at_the_caller(value: Any) -> None:
    with pytest.raises(dbos.DbosError, match="arguments of workflow"):
        plain.start(value)

    assert not Workflow.objects.exists()


@pytest.mark.django_db
def test_arguments_that_do_not_fit_are_refused_at_the_caller() -> None:
    with pytest.raises(TypeError, match="plain"):
        plain.start(1, 2)  # type: ignore[call-arg]

    assert not Workflow.objects.exists()


@pytest.mark.django_db
def test_a_used_id_is_the_same_workflow_or_a_conflict() -> None:
    @dbos.workflow
    def other() -> None:
        """Nothing."""

    first = plain.using(workflow_id="used").start(1)

    assert plain.using(workflow_id="used").start(2) == first
    with pytest.raises(dbos.DuplicateWorkflow, match="'used' already exists"):
        plain.using(workflow_id="used", on_existing="reject").start()
    with pytest.raises(dbos.WorkflowIdConflict, match="plain"):
        other.using(workflow_id="used").start()
    assert Workflow.objects.count() == 1


@pytest.mark.django_db
def test_start_many_is_all_or_nothing() -> None:
    with pytest.raises(dbos.SerializationError):
        plain.start_many([(1,), (object(),)])
    with pytest.raises(TypeError, match="tuple of arguments"):
        plain.start_many([1])  # type: ignore[list-item]
    assert not Workflow.objects.exists()

    handles = plain.start_many([(1,), {"value": 2}])

    assert len({handle.workflow_id for handle in handles}) == 2
    assert plain.start_many([]) == []


@pytest.mark.django_db
def test_arguments_are_stored_as_they_are_at_the_call() -> None:
    numbers = [0]

    def arguments() -> Iterator[tuple[Any, ...]]:
        same = (numbers,)
        for number in (1, 2):
            numbers[0] = number
            yield same
        yield from [(1,), (True,), (1.0,)]
        yield from [("again",)] * 2

    handles = plain.start_many(arguments())

    inputs = {row.workflow_id: row.input_text for row in Workflow.objects.all()}
    assert [json.loads(inputs[handle.workflow_id])["args"] for handle in handles] == [
        [[1]], [[2]], [1], [True], [1.0], ["again"], ["again"],
    ]  # fmt: skip
    assert '"args":[true]' in inputs[handles[3].workflow_id]
    assert '"args":[1.0]' in inputs[handles[4].workflow_id]


def nothing() -> None: ...
def one(a: Any) -> None: ...
def one_or_two(a: Any, b: Any = None, /) -> None: ...
def any_number(a: Any, *others: Any) -> None: ...
def with_a_name(a: Any = None, *, name: Any) -> None: ...
def with_a_default(*, name: Any = None) -> None: ...
def with_any_names(a: Any, **others: Any) -> None: ...


FUNCTIONS = [
    nothing, one, one_or_two, any_number, with_a_name, with_a_default, with_any_names,
    functools.partial(one_or_two, 1), functools.partial(with_any_names, a=1),
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("args", [(), (1,), (1, 2), (1, 2, 3)])
@pytest.mark.parametrize("kwargs", [{}, {"name": 1}, {"a": 1}])
def test_a_start_accepts_exactly_the_arguments_of_a_call(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    definition = WorkflowDefinition(name="any", function=function, is_async=False)
    workflow: Any = dbos.WorkflowFunction(definition)
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        with pytest.raises(TypeError, match=re.escape(f"any(): {error}")):
            workflow._new(args, kwargs)
    else:
        text = workflow._new(args, kwargs).input
        assert json.loads(text) == {"args": list(args), "kwargs": kwargs}


def test_a_workflow_cannot_be_a_method() -> None:
    with pytest.raises(TypeError, match="its steps may be methods"):

        class Shop:
            @dbos.workflow
            def open(self) -> None:
                """Nothing."""


class Shop:
    @staticmethod
    @dbos.workflow
    def opened(hour: int) -> str:
        return f"opened at {hour}"


@pytest.mark.django_db
def test_a_workflow_can_be_a_static_method() -> None:
    handles = [Shop.opened.start(8), Shop().opened.start(9)]
    run_until_idle()

    assert [handle.get_result() for handle in handles] == ["opened at 8", "opened at 9"]
    assert Shop.opened(10) == "opened at 10"
    assert Shop.opened.name == f"{__name__}.Shop.opened"


@dbos.step
def plain_step() -> None: ...


@pytest.mark.parametrize("name", ["start", "astart", "start_many", "using"])
def test_the_error_for_starting_a_step_names_the_way(name: str) -> None:
    with pytest.raises(AttributeError, match="Only workflows have: write one that calls the step"):
        getattr(plain_step, name)
    with pytest.raises(AttributeError, match=r"has no 'strat'\.$"):
        plain_step.strat  # type: ignore[attr-defined]  # noqa: B018
    assert copy.copy(plain_step).name == plain_step.name


@pytest.mark.parametrize("name", ["apply_async", "delay", "enqueue"])
def test_the_names_of_other_task_queues_for_start_raise_an_error_that_names_start(
    name: str,
) -> None:
    with pytest.raises(AttributeError, match=rf"^Workflow 'plain' has no '{name}'. Use start\("):
        getattr(plain, name)
    with pytest.raises(AttributeError, match="Only workflows are started: write one that calls"):
        getattr(plain_step, name)
    assert not hasattr(plain, "strat")
    assert copy.copy(plain).name == plain.name


@pytest.mark.parametrize(
    ("decorator", "option", "answer"),
    [
        (
            dbos.step,
            "max_attemps",
            "@step has no option 'max_attemps'. Did you mean 'max_attempts'?",
        ),
        (
            dbos.step,
            "countdown",
            "@step has no option 'countdown'. Options are name, max_attempts,",
        ),
        (dbos.workflow, "queue", "@workflow has no option 'queue'. Did you mean 'queue_name'?"),
    ],
)
def test_an_unknown_option_of_a_decorator_is_named(
    decorator: Any, option: str, answer: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(answer)):
        decorator(**{option: 3})


def test_two_functions_cannot_have_one_name() -> None:
    with pytest.raises(ValueError, match="Give one of them another name"):

        @dbos.workflow(name=plain.name)
        def another() -> None:
            """Nothing."""


@pytest.mark.parametrize("decorator", [dbos.workflow, dbos.step])
def test_generators_and_decorated_functions_are_refused(decorator: Any) -> None:
    def generates() -> Any:
        yield 1

    for function in (generates, plain):
        with pytest.raises(TypeError):
            decorator(function)


@pytest.mark.django_db
def test_rows_of_the_engine_change_through_the_api_alone() -> None:
    plain.start()
    row = Workflow.objects.get()

    for change in (
        row.save,
        row.delete,
        lambda: Workflow.objects.update(status="SUCCESS"),
        lambda: Workflow.objects.all().delete(),
        lambda: Workflow.objects.create(workflow_id="x"),
        lambda: Workflow.objects.bulk_create([]),
    ):
        with pytest.raises(TypeError, match="isn't allowed"):
            change()
    assert Workflow.objects.active().cancel() == {row.workflow_id: True}
    assert Workflow.objects.all().resume() == {row.workflow_id: True}
    assert row.handle.get_status() == Workflow.Status.ENQUEUED


def test_handles_are_equal_by_their_ids() -> None:
    assert dbos.WorkflowHandle("a") == dbos.WorkflowHandle("a") != dbos.WorkflowHandle("b")
    assert len({dbos.WorkflowHandle("a"), dbos.WorkflowHandle("a")}) == 1
    assert dbos.WorkflowFunction.__doc__
